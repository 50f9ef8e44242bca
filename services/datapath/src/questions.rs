//! Questions on their way to the agent's thread: a few at most, because each costs that thread time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use synscope_bus::command::ANSWER;
use synscope_bus::command::datapath::{ConntrackPart, ConntrackTop, ListConntrack, Status, TopConntrack};

/// Waiting questions; the one after these is refused.
pub const WAITING_MAX: usize = 16;

/// What the agent is asked; the answer goes back through the sender within.
#[derive(Debug)]
pub enum Question {
    /// How it is.
    Status(SyncSender<Status>),
    /// A part of the tables.
    List(ListConntrack, SyncSender<Result<ConntrackPart, String>>),
    /// Who fills the tables.
    Top(TopConntrack, SyncSender<Result<Vec<ConntrackTop>, String>>),
}

/// Where questions are put.
#[derive(Clone, Debug)]
pub struct Questions {
    waiting: SyncSender<Question>,
    refused: Arc<AtomicU64>,
}

/// Where the agent takes them.
#[derive(Debug)]
pub struct Asked {
    /// Those that wait.
    pub waiting: Receiver<Question>,
    refused: Arc<AtomicU64>,
}

/// The way from one to the other.
pub fn open() -> (Questions, Asked) {
    let (sender, receiver) = sync_channel(WAITING_MAX);
    let refused = Arc::new(AtomicU64::new(0));
    (Questions { waiting: sender, refused: refused.clone() }, Asked { waiting: receiver, refused })
}

impl Questions {
    /// Asks, from a thread that may wait.
    pub fn ask<T>(&self, question: impl FnOnce(SyncSender<T>) -> Question) -> Result<T, String> {
        let (back, answer) = sync_channel(1);
        match self.waiting.try_send(question(back)) {
            Ok(()) => answer.recv_timeout(ANSWER).map_err(|_late| "the agent did not answer in time".to_owned()),
            Err(TrySendError::Full(_)) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(format!("{WAITING_MAX} questions wait for the agent already: ask again later"))
            }
            Err(TrySendError::Disconnected(_)) => Err("the agent has ended".to_owned()),
        }
    }
}

impl Asked {
    /// Questions that found too many before them.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_too_many_is_refused_and_counted() {
        let (questions, asked) = open();
        for _waiting in 0..WAITING_MAX {
            let (back, _nobody) = sync_channel(1);
            questions.waiting.try_send(Question::Status(back)).unwrap();
        }
        assert!(questions.ask(Question::Status).unwrap_err().contains("16 questions wait"));
        assert_eq!(asked.refused(), 1);
        drop(asked);
        assert_eq!(questions.ask(Question::Status).unwrap_err(), "the agent has ended");
    }
}
