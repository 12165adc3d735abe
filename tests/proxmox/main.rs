//! phoenix on a stand-in for a Proxmox VE node. The program of these tests is the stand-in as
//! well: links to it under the names of Proxmox VE's tools behave as they do.
#![expect(unreachable_pub, reason = "one binary, nothing outside of it")]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by panicking, and a stand-in for a program prints"
)]

mod counts;
mod crash;
mod directories;
mod fleet;
mod laws;
mod misfits;
mod others;
mod over_ssh;
mod printed;
mod replay;
mod secrets;
mod site;
mod sshd;
mod standin;
#[path = "../integration/support.rs"]
#[expect(dead_code, reason = "only a part of it is used here")]
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Every test, by its module and name.
macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn())),*]
    };
}

fn main() -> ExitCode {
    if let Some(code) = standin::as_a_tool() {
        return ExitCode::from(u8::try_from(code).unwrap_or(255));
    }
    let tests = tests![
        counts::of_processes,
        crash::killed_at_every_call,
        crash::the_tool_alone_is_killed,
        crash::what_is_still_at_work_is_waited_for,
        crash::a_destruction_is_killed,
        crash::killed_at_any_moment,
        directories::killed_at_every_step,
        directories::made_two_at_a_time,
        directories::in_one_with_a_set_group_id,
        laws::converges_and_then_does_nothing,
        laws::drift_by_hand_is_found_and_corrected,
        laws::a_changed_declaration_is_one_set_a_container,
        others::a_change_of_somebody_else_is_not_lost,
        others::a_change_before_a_raw_edit_is_not_lost,
        others::a_backup_is_waited_for,
        others::a_backup_without_end_is_given_up,
        others::locks_of_others_are_never_broken,
        others::a_held_lock_file_is_waited_for,
        others::what_waits_is_seen_and_restarted_for,
        others::clones_of_one_source_take_turns,
        others::a_container_of_somebody_else_is_not_touched,
        others::a_container_on_another_node_is_reported,
        others::a_strange_half_created_container_is_left,
        others::a_lie_is_caught,
        others::a_missing_template_is_downloaded,
        others::a_creation_without_end_is_taken_back,
        others::without_the_files_pct_is_asked,
        over_ssh::converges_and_then_does_nothing,
        over_ssh::drift_is_corrected,
        over_ssh::a_look_is_one_round_trip,
        over_ssh::cut_at_every_call,
        over_ssh::killed_and_resumed,
        over_ssh::an_unknown_host_key_is_refused,
        printed::what_is_written_is_read_as_it_was,
        replay::sessions,
        secrets::what_scripts_print_is_kept_without_them,
    ];
    let must = std::env::var("CI").is_ok_and(|value| value == "true");
    let trials = tests.into_iter().map(|(name, test)| {
        let missing = missing(name);
        let skipped = missing.filter(|_| !must);
        if let Some(what) = skipped {
            eprintln!("SKIPPED {name}: {what} (CI=true makes this a failure)");
        }
        let trial = Trial::test(name, move || match missing {
            Some(what) => Err(what.into()),
            None => {
                test();
                Ok(())
            }
        });
        trial.with_ignored_flag(skipped.is_some())
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// What a test needs and this machine lacks.
fn missing(test: &str) -> Option<&'static str> {
    if test.starts_with("printed::") {
        return None;
    }
    if !rustix::process::geteuid().is_root() {
        return Some("the containers of the stand-in need root (chroot)");
    }
    if site::busybox().is_none() {
        return Some("the containers of the stand-in need busybox (Debian: busybox-static)");
    }
    if test.starts_with("over_ssh::") {
        return sshd::missing();
    }
    None
}
