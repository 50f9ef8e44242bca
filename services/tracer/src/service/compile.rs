//! From a source to programs, under the rules of a service.

use synscope_bus::command::tracer::{AttachPoint, Checked, Diagnostic, TraceSource};
use synscope_bus::message::trace::Limit;

use super::deny::deny;
use super::diagnostics::located;
use super::probes::{self, Curated};
use super::settings::{LimitSettings, Settings};
use crate::diagnostic::Severity;
use crate::load::{LoadError, memory, verify};
use crate::lower::{Budget, Lowered, lower_within};
use crate::settings;
use crate::source::Source;
use crate::typed::Script;
use crate::{Environment, check, parse, plan};

/// A script ready to be loaded.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) source: Source,
    pub(super) script: Script,
    pub(super) lowered: Lowered,
    /// What there is to say although it runs.
    pub(super) diagnostics: Vec<Diagnostic>,
    /// The curated probe that it is.
    pub(super) curated: Option<Curated>,
}

/// Why a source does not become programs.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompileError {
    /// It is not as the language wants it.
    #[error("the script does not run: {}", .0.iter().find(|said| said.severity == synscope_bus::command::tracer::Severity::Error).map_or("", |said| said.message.as_str()))]
    Script(Vec<Diagnostic>),
    /// There is no such probe, or it has no such parameter.
    #[error("{0}")]
    Probe(String),
    /// It would exceed a limit.
    #[error("limit {limit:?}: {detail}")]
    Limit {
        /// Which.
        limit: Limit,
        /// With numbers.
        detail: String,
    },
}

/// Compiles.
pub(super) fn compile(source: &TraceSource, rules: &Settings, limits: LimitSettings) -> Result<Compiled, CompileError> {
    let (name, text, parameters, curated) = match source {
        TraceSource::Script(script) => ("script".to_owned(), script.text.clone(), script.parameters.clone(), None),
        TraceSource::Probe(asked) => {
            let curated = probes::find(&asked.name).map_err(CompileError::Probe)?;
            let parameters = curated.parameters(asked).map_err(CompileError::Probe)?;
            (asked.name.clone(), curated.told.script.clone(), parameters, Some(curated))
        }
    };
    let source = Source::new(name, text);
    let parsed = parse(&source);
    let mut said = located(&parsed.diagnostics, &source);
    let Some(program) = parsed.program else { return Err(CompileError::Script(said)) };
    let most = u32::try_from(limits.probes).unwrap_or(u32::MAX);
    let settings = settings::Settings::default().at_most(most);
    let checked = check(&program, &Environment::new(parameters, settings));
    said.extend(located(&checked.diagnostics, &source));
    let Some(mut script) = checked.script else { return Err(CompileError::Script(said)) };
    let denied = deny(&mut script, &rules.denied_functions);
    said.extend(located(&denied, &source));
    if denied.iter().any(|denied| denied.severity == Severity::Error) {
        return Err(CompileError::Script(said));
    }
    let budget = Budget { hits: limits.hits_per_second, run_ns: limits.cpu_permille.saturating_mul(1_000_000) };
    match lower_within(&script, Some(budget)) {
        Ok(lowered) => {
            let compiled = Compiled { source, script, lowered, diagnostics: said, curated };
            compiled.keeps(limits)?;
            Ok(compiled)
        }
        Err(diagnostic) => {
            said.extend(located(&[*diagnostic], &source));
            Err(CompileError::Script(said))
        }
    }
}

impl Compiled {
    /// What it would take is within what the service allows; how many places it is at, the checker has minded.
    fn keeps(&self, limits: LimitSettings) -> Result<(), CompileError> {
        for (limit, found, allowed, what) in [
            (Limit::MapEntries, plan::entries(&self.script), limits.map_entries, "entries that maps may hold"),
            (Limit::MemoryBytes, self.memory_bytes(), limits.memory_bytes, "bytes of maps"),
        ] {
            if found > allowed {
                let detail = format!("{found} {what}, {allowed} are allowed");
                return Err(CompileError::Limit { limit, detail });
            }
        }
        Ok(())
    }

    /// Bytes that its maps take at most.
    pub(super) fn memory_bytes(&self) -> u64 {
        memory(&self.script, &self.lowered)
    }

    pub(super) fn attach_points(&self) -> Vec<AttachPoint> {
        let point = |probe: &crate::typed::Probe| {
            let (attached_as, why) = probe.target.attached_as();
            AttachPoint {
                name: probe.name.clone(),
                attached_as: attached_as.to_owned(),
                why: why.to_owned(),
                places: probe.target.places() as u64,
            }
        };
        self.script.probes.iter().map(point).collect()
    }

    /// What the kernel said when it refused a program, beside what was said before.
    pub(super) fn refused(self, error: LoadError) -> Result<Vec<Diagnostic>, LoadError> {
        match error {
            LoadError::Refused(refused) => {
                let mut said = self.diagnostics;
                said.extend(located(&[refused.diagnostic], &self.source));
                Ok(said)
            }
            other => Err(other),
        }
    }
}

/// Says what is wrong with a source and how it would be attached; the kernel's verifier is asked as well.
pub(super) fn check_only(source: &TraceSource, rules: &Settings) -> Result<Checked, String> {
    let not_run = |diagnostics| Checked { runs: false, diagnostics, ..Checked::default() };
    let compiled = match compile(source, rules, rules.limits) {
        Ok(compiled) => compiled,
        Err(CompileError::Script(diagnostics)) => return Ok(not_run(diagnostics)),
        Err(other) => return Err(other.to_string()),
    };
    match verify(&compiled.script, &compiled.lowered) {
        Ok(()) => Ok(Checked {
            runs: true,
            probes: compiled.attach_points(),
            memory_bytes: compiled.memory_bytes(),
            diagnostics: compiled.diagnostics,
        }),
        Err(error) => match compiled.refused(error) {
            Ok(diagnostics) => Ok(not_run(diagnostics)),
            Err(error) => Err(synscope_bus::reasons::reasons(&error)),
        },
    }
}
