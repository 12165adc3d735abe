//! phoenix on a stand-in for a Proxmox VE node. The program of these tests is the stand-in as
//! well: links to it under the names of Proxmox VE's tools behave as they do.
#![expect(unreachable_pub, reason = "one binary, nothing outside of it")]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by panicking, and a stand-in for a program prints"
)]

mod misfits;
mod replay;
mod site;
mod standin;

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
    let trials = vec![trial("replay::sessions", replay::sessions)];
    libtest_mimic::run(&arguments, trials).exit_code()
}
