//! phoenix on a stand-in for a Proxmox VE node. The program of these tests is the stand-in as
//! well: links to it under the names of Proxmox VE's tools behave as they do.
#![expect(unreachable_pub, reason = "one binary, nothing outside of it")]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by panicking, and a stand-in for a program prints"
)]

mod crash;
mod fleet;
mod laws;
mod misfits;
mod others;
mod over_ssh;
mod replay;
mod site;
mod sshd;
mod standin;
#[path = "../integration/support.rs"]
#[expect(dead_code, reason = "only a part of it is used here")]
mod support;

use libtest_mimic::Trial;

fn main() -> std::process::ExitCode {
    if let Some(code) = standin::as_a_tool() {
        return std::process::ExitCode::from(u8::try_from(code).unwrap_or(255));
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let trial = |name: &str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let trials = vec![
        trial("replay::sessions", replay::sessions),
        trial(
            "laws::converges_and_then_does_nothing",
            laws::converges_and_then_does_nothing,
        ),
        trial(
            "laws::drift_by_hand_is_found_and_corrected",
            laws::drift_by_hand_is_found_and_corrected,
        ),
        trial(
            "laws::a_changed_declaration_is_one_set_a_container",
            laws::a_changed_declaration_is_one_set_a_container,
        ),
        trial("crash::killed_at_every_call", crash::killed_at_every_call),
        trial(
            "crash::the_tool_alone_is_killed",
            crash::the_tool_alone_is_killed,
        ),
        trial("crash::killed_at_any_moment", crash::killed_at_any_moment),
        trial(
            "others::a_change_of_somebody_else_is_not_lost",
            others::a_change_of_somebody_else_is_not_lost,
        ),
        trial(
            "others::a_change_before_a_raw_edit_is_not_lost",
            others::a_change_before_a_raw_edit_is_not_lost,
        ),
        trial(
            "others::a_backup_is_waited_for",
            others::a_backup_is_waited_for,
        ),
        trial(
            "others::a_backup_without_end_is_given_up",
            others::a_backup_without_end_is_given_up,
        ),
        trial(
            "others::locks_of_others_are_never_broken",
            others::locks_of_others_are_never_broken,
        ),
        trial(
            "others::a_held_lock_file_is_waited_for",
            others::a_held_lock_file_is_waited_for,
        ),
        trial(
            "others::what_waits_is_seen_and_restarted_for",
            others::what_waits_is_seen_and_restarted_for,
        ),
        trial(
            "others::clones_of_one_source_take_turns",
            others::clones_of_one_source_take_turns,
        ),
        trial(
            "others::a_container_of_somebody_else_is_not_touched",
            others::a_container_of_somebody_else_is_not_touched,
        ),
        trial(
            "others::a_container_on_another_node_is_reported",
            others::a_container_on_another_node_is_reported,
        ),
        trial(
            "others::a_strange_half_created_container_is_left",
            others::a_strange_half_created_container_is_left,
        ),
        trial("others::a_lie_is_caught", others::a_lie_is_caught),
        trial(
            "others::a_missing_template_is_downloaded",
            others::a_missing_template_is_downloaded,
        ),
        trial(
            "over_ssh::converges_and_then_does_nothing",
            over_ssh::converges_and_then_does_nothing,
        ),
        trial("over_ssh::drift_is_corrected", over_ssh::drift_is_corrected),
        trial(
            "over_ssh::a_look_is_one_round_trip",
            over_ssh::a_look_is_one_round_trip,
        ),
        trial("over_ssh::cut_at_every_call", over_ssh::cut_at_every_call),
        trial("over_ssh::killed_and_resumed", over_ssh::killed_and_resumed),
        trial(
            "over_ssh::an_unknown_host_key_is_refused",
            over_ssh::an_unknown_host_key_is_refused,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
