//! What names say about values: which hold secrets, which are an environment, and where in a text
//! such a value stands.

use std::ops::Range;

/// Words of a name that say: what it holds is secret.
const WORDS: [&str; 18] = [
    "accesskey",
    "apikey",
    "apitoken",
    "authorization",
    "credential",
    "credentials",
    "key",
    "keys",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "pwd",
    "secret",
    "secrets",
    "token",
    "tokens",
];
/// The same as the end of a word that is written together, such as `dbpassword`.
const ENDINGS: [&str; 5] = ["apikey", "passwd", "password", "secret", "token"];
/// Words that say: it is no secret all the same, or only a number of them.
const OPEN: [&str; 9] = [
    "authorized",
    "batched",
    "known",
    "max",
    "min",
    "num",
    "number",
    "pub",
    "public",
];
/// Last words of names that are about a secret and do not hold it.
const ABOUT: [&str; 24] = [
    "algorithm",
    "count",
    "dir",
    "directory",
    "expiry",
    "field",
    "file",
    "files",
    "format",
    "header",
    "length",
    "lifetime",
    "limit",
    "name",
    "path",
    "policy",
    "size",
    "timeout",
    "ttl",
    "type",
    "uri",
    "url",
    "usage",
    "version",
];
/// Variables that every process has, or that say how it talks.
const ORDINARY: [&str; 10] = [
    "HOME", "HOSTNAME", "LANG", "LOGNAME", "OLDPWD", "PATH", "PWD", "SHELL", "TERM", "TZ",
];

/// Whether what has this name is secret: `DB_PASSWORD`, `apiKey`, `--hf-token`; not `keyctl`,
/// `public_key`, `token_file`, `max_tokens`.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    if is_ordinary(name) {
        return false;
    }
    let words = words(name);
    let holds = |word: &String| {
        WORDS.contains(&word.as_str()) || ENDINGS.iter().any(|end| word.ends_with(end))
    };
    let about = words
        .last()
        .is_some_and(|word| ABOUT.contains(&word.as_str()));
    !about && words.iter().any(holds) && !words.iter().any(|word| OPEN.contains(&word.as_str()))
}

/// Whether what has this name is an environment: `env`, `environment`, `docker_env`, `env_vars`.
#[must_use]
pub fn is_environment(name: &str) -> bool {
    let words = words(name);
    let mut words = words.iter().rev().map(String::as_str);
    let last = words.next().unwrap_or_default();
    let environment = |word: &str| matches!(word, "env" | "environment");
    environment(last)
        || (matches!(last, "vars" | "variables") && words.next().is_some_and(environment))
}

/// Whether a variable of an environment says nothing that anybody keeps secret.
#[must_use]
pub fn is_ordinary(name: &str) -> bool {
    ORDINARY.contains(&name) || name.starts_with("LC_")
}

/// The words of a name, in small letters, without digits: `apiKey2` and `API_KEY` are `api`, `key`.
fn words(name: &str) -> Vec<String> {
    let signs: Vec<char> = name.chars().collect();
    let mut found = Vec::new();
    let mut word = String::new();
    for (index, sign) in signs.iter().enumerate() {
        let before = index.checked_sub(1).map(|index| signs[index]);
        let after = signs.get(index + 1);
        let begins = sign.is_uppercase()
            && (before.is_some_and(char::is_lowercase)
                || (before.is_some_and(char::is_uppercase)
                    && after.is_some_and(|after| after.is_lowercase())));
        if begins || !sign.is_alphabetic() {
            found.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        }
        if sign.is_alphabetic() {
            word.extend(sign.to_lowercase());
        }
    }
    found.extend((!word.is_empty()).then_some(word));
    found
}

/// The value of the variable that a text such as `NAME=VALUE` sets, if it may be secret.
#[must_use]
pub fn of_variable(text: &str) -> Option<Range<usize>> {
    let (name, value) = text.split_once('=')?;
    let from = text.len() - value.len();
    (!is_ordinary(name.trim()) && !value.is_empty()).then_some(from..text.len())
}

/// Where values stand in a text that their surroundings call secret: `NAME_TOKEN=…`,
/// `--api-key …`, `"password": "…"`, `Authorization: Bearer …`, `scheme://user:…@host`. What a
/// shell would put in (`$NAME`) is none.
#[must_use]
pub fn in_text(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = in_addresses(text).collect();
    let mut rest = 0;
    while let Some(name) = next_name(text, rest) {
        rest = name.end;
        let value = value_of(text, &name).filter(|value| !text[value.clone()].starts_with('$'));
        if let Some(value) = value {
            rest = value.end;
            found.push(value);
        }
    }
    found
}

/// The next run of signs that can be a name.
fn next_name(text: &str, from: usize) -> Option<Range<usize>> {
    let sign = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let start = from + text[from..].find(sign)?;
    let length = text[start..].find(|c| !sign(c));
    Some(start..length.map_or(text.len(), |length| start + length))
}

/// The value that follows a name, where the name says that it is secret.
fn value_of(text: &str, name: &Range<usize>) -> Option<Range<usize>> {
    let word = &text[name.clone()];
    let behind = &text[name.end..];
    if matches!(word, "Bearer" | "bearer") {
        return word_at(text, skip_blanks(text, name.end)?);
    }
    if !is_secret(word) {
        return None;
    }
    let unquoted = behind.trim_start_matches(['"', '\'', '\\']);
    let after = text.len() - unquoted.len();
    let from = match unquoted.chars().next()? {
        '=' => after + 1,
        ':' if !unquoted.starts_with("://") => skip_blanks(text, after + 1)?,
        c if c.is_whitespace() && word.starts_with('-') => skip_blanks(text, after)?,
        _ => return None,
    };
    let value = word_at(text, from)?;
    match &text[value.clone()] {
        "Bearer" | "bearer" | "Basic" | "basic" => word_at(text, skip_blanks(text, value.end)?),
        flag if flag.starts_with("--") => None,
        _ => Some(value),
    }
}

fn skip_blanks(text: &str, from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    Some(text.len() - rest.trim_start_matches([' ', '\t']).len())
}

/// A word, or what stands between quotes.
fn word_at(text: &str, from: usize) -> Option<Range<usize>> {
    let rest = text.get(from..)?;
    let bare = rest.strip_prefix('\\').unwrap_or(rest);
    let (start, end) = match bare.chars().next()? {
        quote @ ('"' | '\'') => {
            let inner = &bare[1..];
            let start = text.len() - inner.len();
            let length = inner.find(quote).unwrap_or(inner.len());
            let inner = inner[..length].trim_end_matches('\\');
            (start, start + inner.len())
        }
        _ => {
            let stop = |c: char| c.is_whitespace() || ",;&|'\"`)}]".contains(c);
            let length = rest.find(stop).unwrap_or(rest.len());
            (from, from + length)
        }
    };
    (start < end).then_some(start..end)
}

/// Passwords in addresses. A user without one is a token where it is long.
fn in_addresses(text: &str) -> impl Iterator<Item = Range<usize>> {
    const TOKEN: usize = 20;
    text.match_indices("://").filter_map(move |(at, sign)| {
        let from = at + sign.len();
        let rest = &text[from..];
        let stop = |c: char| c.is_whitespace() || "/?#'\"".contains(c);
        let authority = &rest[..rest.find(stop).unwrap_or(rest.len())];
        let (user, _) = authority.rsplit_once('@')?;
        match user.split_once(':') {
            Some((name, password)) => {
                (!password.is_empty()).then(|| from + name.len() + 1..from + user.len())
            }
            None => (user.len() >= TOKEN).then(|| from..from + user.len()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        for name in [
            "password",
            "DB_PASSWORD",
            "dbPassword",
            "dbpassword",
            "token",
            "HF_TOKEN",
            "--api-key",
            "apiKey",
            "APIKey2",
            "secret_id",
            "client.secret",
            "ssh_private_key",
            "credentials",
            "X-Api-Key",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "keyctl",
            "public_key",
            "ssh_authorized_keys",
            "monkey",
            "keyboard",
            "bypass",
            "compass_mode",
            "max_tokens",
            "--max-num-batched-tokens",
            "token_file",
            "password_path",
            "key_name",
            "PWD",
            "memory_mb",
            "",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn environments_are_known() {
        for name in [
            "env",
            "environment",
            "docker_env",
            "envVars",
            "environment_variables",
        ] {
            assert!(is_environment(name), "{name}");
        }
        for name in [
            "envelope",
            "portainer_environment_name",
            "environments_of",
            "vars",
        ] {
            assert!(!is_environment(name), "{name}");
        }
        assert_eq!(of_variable("A=b c"), Some(2..5));
        for text in ["LANG=C", "LC_ALL=C.UTF-8", "A", "A="] {
            assert_eq!(of_variable(text), None, "{text}");
        }
    }

    #[test]
    fn values_are_found_in_texts() {
        for (text, values) in [
            ("--api-key sk-1 --port 80", vec!["sk-1"]),
            ("--api-key=sk-1,next", vec!["sk-1"]),
            ("HF_TOKEN=hf_x vllm serve", vec!["hf_x"]),
            ("export A='b' PASSWORD=\"p q\"; x", vec!["p q"]),
            ("{\"password\": \"p\", \"user\": \"u\"}", vec!["p"]),
            ("{\\\"token\\\":\\\"t/+=\\\"}", vec!["t/+="]),
            ("-H 'X-Api-Key: k' -H 'Accept: x'", vec!["k"]),
            ("-H 'Authorization: Bearer tok.en'", vec!["tok.en"]),
            ("postgres://u:p@ss@db/x", vec!["p@ss"]),
            ("https://git@host/x ssh://host", vec![]),
            (
                "https://ghp_0123456789abcdefghij@host/x",
                vec!["ghp_0123456789abcdefghij"],
            ),
            ("//srv/a mnt cifs user=u,password=p,ro 0 0", vec!["p"]),
            ("--token $TOKEN --api-key --next", vec![]),
            ("the key of the container", vec![]),
            ("password", vec![]),
            ("password=", vec![]),
            ("ü=ß token=ß", vec!["ß"]),
        ] {
            let found: Vec<&str> = in_text(text).into_iter().map(|at| &text[at]).collect();
            assert_eq!(found, values, "{text}");
        }
    }
}
