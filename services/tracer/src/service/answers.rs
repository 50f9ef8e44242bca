//! What the tracer is asked over NATS.

use synscope_bus::command::tracer::{
    CheckTrace, DescribeType, GetActivity, GetResults, ListFunctions, ListProbes, ListTraces, RenewTrace, StartProbe,
    StartScript, StopTrace,
};
use synscope_bus::command::{Answers, CommandError};

use super::{Traces, kernel, probes};

impl Traces {
    /// Answers from now on, as long as the answers are kept.
    pub async fn answer(&self, answers: &Answers) -> Result<(), CommandError> {
        let about = self.clone();
        answers.answer(move |asked: CheckTrace| about.check(&asked)).await?;
        let about = self.clone();
        answers.answer(move |asked: StartScript| about.start_script(asked)).await?;
        let about = self.clone();
        answers.answer(move |asked: StartProbe| about.start_probe(asked)).await?;
        let about = self.clone();
        answers.answer(move |RenewTrace { trace }| about.renew(&trace)).await?;
        let about = self.clone();
        answers.answer(move |StopTrace { trace }| about.stop(&trace)).await?;
        let about = self.clone();
        answers.answer(move |ListTraces {}| Ok(about.list())).await?;
        let about = self.clone();
        answers.answer(move |GetActivity {}| Ok(about.activity())).await?;
        let about = self.clone();
        answers.answer(move |GetResults { trace }| about.results(&trace)).await?;
        answers.answer(|ListProbes {}| Ok(probes::all().into_iter().map(|probe| probe.told).collect())).await?;
        answers.answer(|asked: ListFunctions| kernel::functions(&asked)).await?;
        answers.answer(|asked: DescribeType| kernel::type_text(&asked)).await?;
        Ok(())
    }
}
