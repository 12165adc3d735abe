//! Words for a shell.

/// A word that any POSIX shell reads as exactly this text.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A command line of these words.
pub(super) fn line<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    let words: Vec<String> = words
        .into_iter()
        .map(|word| quoted(word.as_ref()))
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::process::Job;
    use super::*;

    #[test]
    fn plain_words_stay_as_they_are() {
        assert_eq!(
            line(["pct", "set", "100", "a b", ""]),
            "pct set 100 'a b' ''"
        );
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Through a shell, and through a shell in a shell, as over ssh.
        #[test]
        fn a_shell_reads_what_was_quoted(words in prop::collection::vec("[^\0]{0,12}", 1..4)) {
            let inner = format!("printf '%s\\0' {}", line(&words));
            let nested = format!("sh -c {}", quoted(&inner));
            for command in [inner, nested] {
                let output = Job::new(["sh", "-c", &command]).run().expect("it runs");
                let expected: String = words.iter().map(|word| format!("{word}\0")).collect();
                prop_assert_eq!(output.stdout, expected);
            }
        }
    }
}
