//! What `/proc/devices` tells.

use std::collections::BTreeMap;

/// The majors of character devices by the name of their driver.
pub(super) fn majors(text: &str) -> BTreeMap<String, u32> {
    let characters = text
        .lines()
        .skip_while(|line| *line != "Character devices:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    characters
        .filter_map(|line| {
            let (major, name) = line.trim().split_once(' ')?;
            Some((name.to_owned(), major.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majors_are_those_of_character_devices() {
        let text = "Character devices:\n  1 mem\n195 nvidia\n\nBlock devices:\n  7 loop\n";
        let majors = majors(text);
        assert_eq!(majors.get("nvidia"), Some(&195));
        assert_eq!(majors.get("loop"), None);
    }
}
