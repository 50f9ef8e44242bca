//! Names with wildcards.

/// A name in which `*` is any text and `?` any one character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<u8>);

impl Pattern {
    /// From its text.
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }

    /// Whether a name is like this. Names are ASCII: a character is a byte. Takes at most the product of the lengths.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.as_bytes();
        let (mut at, mut in_name) = (0, 0);
        // Behind the last `*`, and how far the text goes that it stands for: on a mismatch it takes one byte more.
        let mut star = None;
        while let Some(byte) = name.get(in_name) {
            match self.0.get(at) {
                Some(b'*') => {
                    at += 1;
                    star = Some((at, in_name));
                }
                Some(wanted) if *wanted == b'?' || wanted == byte => {
                    at += 1;
                    in_name += 1;
                }
                _ => {
                    let Some((behind, end)) = star else { return false };
                    (at, in_name) = (behind, end + 1);
                    star = Some((behind, end + 1));
                }
            }
        }
        self.0.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As slow as it is plain.
    fn plainly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=name.len()).any(|taken| plainly(rest, &name[taken..])),
            ([b'?', rest @ ..], [_, name @ ..]) => plainly(rest, name),
            ([byte, rest @ ..], [other, name @ ..]) => byte == other && plainly(rest, name),
            _ => false,
        }
    }

    #[test]
    fn a_star_is_any_text_and_a_question_mark_one_character() {
        let matches = |pattern, name| Pattern::new(pattern).matches(name);
        assert!(matches("tcp_*", "tcp_v4_connect"));
        assert!(matches("tcp_v?_connect", "tcp_v6_connect"));
        assert!(matches("*sock*", "inet_sock_destruct"));
        assert!(!matches("tcp_*", "mptcp_connect"));
        assert!(!matches("tcp_v4_connec", "tcp_v4_connect"));
        assert!(matches("*", ""));
    }

    proptest! {
        #[test]
        fn it_matches_what_the_plain_way_matches(pattern in "[ab*?]{0,8}", name in "[ab]{0,10}") {
            prop_assert_eq!(Pattern::new(&pattern).matches(&name), plainly(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
