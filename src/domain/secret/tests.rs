use proptest::prelude::*;

use super::*;

fn secrets(values: &[&str]) -> Secrets {
    Secrets::of(values.iter().copied()).expect("few")
}

#[test]
fn a_secret_is_not_shown() {
    let secret = Secret::new("hunter22");
    let shown = [
        format!("{secret}"),
        format!("{secret:?}"),
        serde_json::to_string(&secret).expect("JSON"),
    ];
    assert_eq!(shown, ["***", "***", "\"***\""]);
    assert_eq!(secret.expose(), "hunter22");
    assert_eq!(format!("{:?}", secrets(&["hunter22"])), "Secrets(1)");
}

#[test]
fn without_secrets_a_text_is_not_copied() {
    let text = "a … b";
    assert!(matches!(Secrets::default().scrub(text), Cow::Borrowed(_)));
    assert!(matches!(
        secrets(&["hunter22"]).scrub(text),
        Cow::Borrowed(_)
    ));
}

#[test]
fn values_are_taken_out_of_texts() {
    let all = secrets(&[
        "hunter22",
        "ter22xyz",
        "it's \"so\"",
        "one line\nanother line\nz",
        "***",
    ]);
    for (text, shown) in [
        ("nothing", "nothing"),
        ("-phunter22 -x", "-p*** -x"),
        ("hunter22hunter22", "***"),
        ("<hunter22xyz>", "<***>"),
        ("'it'\\''s \"so\"' it's \"so\"", "'***' ***"),
        ("{\"a\":\"it's \\\"so\\\"\"}", "{\"a\":\"***\"}"),
        ("> one line\n> another line\n> z", "> ***\n> ***\n> z"),
        ("one line\\nanother line\\nz", "***"),
        ("one line another line z", "***"),
        ("***", "***"),
    ] {
        assert_eq!(all.scrub(text), shown, "{text}");
    }
}

#[test]
fn what_is_left_of_a_secret_that_was_cut_off_goes_too() {
    let all = secrets(&["hunter22", "äöüß", "****x"]);
    for (text, shown) in [
        ("…ter22 said", "…*** said"),
        ("…22 said", "…22 said"),
        ("curl 'x hunt…' y", "curl 'x ***…' y"),
        ("hun…", "***…"),
        ("…üß", "…***"),
        ("äö…üß", "***…***"),
        ("hunter2…hunter22", "***…***"),
        ("hunter2 …", "hunter2 …"),
    ] {
        assert_eq!(all.scrub(text), shown, "{text}");
    }
}

#[test]
fn a_recorded_line_covers_what_differs_in_its_secrets_only() {
    for (recorded, line, same) in [
        ("A=***", "A=hunter22", true),
        ("A=***", "A=", false),
        ("A=***", "B=hunter22", false),
        ("A=***", "A=***", true),
        (
            "//s/a m user=u,password=***,ro",
            "//s/a m user=u,password=p,ro",
            true,
        ),
        (
            "//s/a m user=u,password=***,ro",
            "//s/a m user=u,password=p,rw",
            false,
        ),
        ("a=*** b=*** c", "a=1 b=2 c", true),
        ("a=*** b=*** c", "a=1 b= c", false),
        ("***", "anything", false),
        ("=***", "=anything", false),
        ("plain", "plain", true),
        ("plain", "plains", false),
    ] {
        assert_eq!(covers(recorded, line), same, "{recorded} {line}");
    }
}

proptest! {
    // Few letters, so that secrets overlap, repeat and hold each other.
    #[test]
    fn scrubbing_is_complete_and_stable(
        values in prop::collection::vec("[ab*…\n\"'\\\\ ]{1,6}", 1..5),
        pieces in prop::collection::vec(
            (any::<prop::sample::Index>(), "[ab*…\n\"'\\\\ ]{0,3}"),
            0..8,
        ),
    ) {
        let all = Secrets::of(values.iter().map(String::as_str)).expect("few");
        let text: String = pieces
            .iter()
            .map(|(index, between)| format!("{}{between}", values[index.index(values.len())]))
            .collect();
        let shown = all.scrub(&text).into_owned();
        for value in values.iter().filter(|value| !only_marks(value)) {
            prop_assert!(!shown.contains(value.as_str()), "{value:?} in {shown:?} of {text:?}");
        }
        prop_assert_eq!(all.scrub(&shown).into_owned(), shown);
    }

    #[test]
    fn wherever_an_output_is_cut_no_half_of_a_secret_is_left(
        value in "[a-zä]{6,12}",
        before in "[0-9 ]{0,20}",
        after in "[0-9 ]{0,20}",
        cut in any::<prop::sample::Index>(),
    ) {
        let all = Secrets::of([value.as_str()]).expect("few");
        let text = format!("{before}{value}{after}");
        let mut at = cut.index(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let (head, tail) = (format!("{}{CUT}", &text[..at]), format!("{CUT}{}", &text[at..]));
        for shown in [all.scrub(&head), all.scrub(&tail)] {
            let left = shown.chars().filter(|c| c.is_alphabetic()).count();
            prop_assert!(left < PIECE, "{shown:?} of {text:?} cut at {at}");
        }
    }

    #[test]
    fn of_a_secret_of_several_lines_no_longer_line_is_left(
        lines in prop::collection::vec("[a-z]{6,10}", 2..5),
        indent in "[ >|]{0,4}",
    ) {
        let value = lines.join("\n");
        let all = Secrets::of([value.as_str()]).expect("few");
        let text: String = lines.iter().map(|line| format!("{indent}{line}\r\n")).collect();
        let shown = all.scrub(&text).into_owned();
        prop_assert!(!shown.contains(char::is_alphabetic), "{shown:?}");
    }
}
