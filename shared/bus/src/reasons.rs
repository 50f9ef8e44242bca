//! Errors for people.

/// What an error says, with what caused it.
pub fn reasons(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Said(&'static str, #[source] Option<Box<Said>>);

    #[test]
    fn every_cause_is_told_and_told_once() {
        let last = Said("no such file", None);
        let error = Said("nothing is stored", Some(Box::new(Said("no stream", Some(Box::new(last))))));
        assert_eq!(reasons(&error), "nothing is stored: no stream: no such file");
    }
}
