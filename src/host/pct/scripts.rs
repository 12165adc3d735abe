//! Scripts and health checks on a node, each in one execution.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::run::{self, DOCUMENT, RUN, RUNS};
use super::super::{Applied, Call, HostError};
use super::PctHost;
use super::act::judged;
use super::link::{Lines, Place as Node};
use super::tar::{self, Entry, NAME_MAX};
use super::timeouts::Limit;
use crate::domain::desired::{HealthCheck, Place, Script, ScriptKind};
use crate::domain::ids::Ctid;
use crate::domain::refusal::FailureKind;

/// How long a script waits for what an earlier phoenix left at work in the container.
const LOCK_WAIT: u32 = 60;
/// All files that a script on a node behind ssh is handed.
const HANDED_MAX: usize = 64 * 1024 * 1024;
/// The directories beside each other that the original's scripts expect.
const HANDED: [&str; 2] = ["bin", "etc"];

/// Unpacks what is read: `$1` bytes of script and `$2` of document, into the directory that
/// follows. What a script that was killed left is swept: its lock was waited for.
const UNPACK: &str = r#"
umask 077
script=$1 document=$2
shift 2
rm -rf "${1%/*}"/*
mkdir -p "$1" && chmod 0755 /var/lib/phoenix || exit 96
if [ "$script" != 0 ]; then dd bs="$script" count=1 2>/dev/null; fi >"$1/script" || exit 96
if [ "$document" != 0 ]; then dd bs="$document" count=1 2>/dev/null >"$1/DOCUMENT" || exit 96; fi
chmod 0700 "$1/script" || exit 96
"#;

impl PctHost {
    /// Runs a script where it is to run.
    pub(super) fn run_script(
        &self,
        call: &Call<'_>,
        script: &Script,
    ) -> Result<Applied, HostError> {
        let content = run::content(script)?;
        let ran = match script.place {
            Place::Container => self.run_inside(call, script, content),
            Place::Host => self.run_on_node(call.ctid, script),
        };
        ran.map_err(|error| run::named(script, error))
    }

    fn run_inside(
        &self,
        call: &Call<'_>,
        script: &Script,
        content: Vec<u8>,
    ) -> Result<Applied, HostError> {
        let document = match script.kind {
            ScriptKind::Feature => "",
            ScriptKind::Application => call.document.expose(),
        };
        let lengths = [content.len(), document.len()].map(|length| length.to_string());
        let directory = format!("{RUNS}/{}", run::directory(call));
        let arguments = run::arguments(call, script, &directory)?;
        let program = format!("{}{RUN}", UNPACK.replace("DOCUMENT", DOCUMENT));
        let seconds = self.link.timeouts.seconds(Limit::Script);
        let fixed = [
            call.ctid.to_string(),
            seconds.to_string(),
            "sh".to_owned(),
            "-c".to_owned(),
            program,
            "phoenix-script".to_owned(),
        ];
        let mut lines = self.locked(call.ctid);
        lines.push("inside", fixed.into_iter().chain(lengths).chain(arguments));
        let mut input = content;
        input.extend_from_slice(document.as_bytes());
        self.run(&lines, &input, seconds, &script.name)
    }

    /// On the node nothing but the exit code tells how it ended.
    fn run_on_node(&self, ctid: Ctid, script: &Script) -> Result<Applied, HostError> {
        let seconds = self.link.timeouts.seconds(Limit::Script);
        let id = ctid.to_string();
        let mut lines = self.locked(ctid);
        lines.push("long_output", [&id]);
        let path = script.path.to_string_lossy().into_owned();
        let (function, base, file, input) = match &self.link.place {
            Node::Local => ("here", base_of(&script.path), path, Vec::new()),
            Node::Ssh(_) => {
                lines.push("stage", [&id]);
                let (name, archive) = handed(&script.path)?;
                ("staged", String::new(), name, archive)
            }
        };
        let fixed = [seconds.to_string(), base, file, id];
        lines.push(function, fixed.into_iter().chain(script.arguments.clone()));
        self.run(&lines, &input, seconds, &script.name)
    }

    fn locked(&self, ctid: Ctid) -> Lines {
        let mut lines = Lines::default();
        lines.push("take", [ctid.to_string(), LOCK_WAIT.to_string()]);
        lines
    }

    fn run(
        &self,
        lines: &Lines,
        input: &[u8],
        seconds: u32,
        name: &str,
    ) -> Result<Applied, HostError> {
        let limit = u64::from(seconds) + u64::from(LOCK_WAIT) + 60;
        let done = self
            .link
            .act(lines.text(), input, Duration::from_secs(limit));
        let ran = done.and_then(|done| judged_script(&done));
        ran.map_err(|error| HostError {
            command: error.command.or_else(|| Some(name.to_owned())),
            ..error
        })
    }

    /// Asks until it answers or was asked often enough.
    pub(super) fn check_health(
        &self,
        ctid: Ctid,
        check: &HealthCheck,
    ) -> Result<Applied, HostError> {
        run::ask(check, |limit| {
            let seconds = limit.as_secs().max(1).to_string();
            let fixed = [ctid.to_string(), seconds];
            let mut lines = self.locked(ctid);
            lines.push("long_output", [ctid.to_string()]);
            lines.push("inside", fixed.into_iter().chain(check.command.clone()));
            let limit = limit.saturating_add(Duration::from_secs((LOCK_WAIT + 20).into()));
            let done = self.link.act(lines.text(), &[], limit)?;
            judged_script(&done)
        })
    }
}

/// What a script says is its own business; only how it ended counts.
fn judged_script(done: &super::link::Done) -> Result<Applied, HostError> {
    const BUSY: i32 = 75;
    if done.code == 0 {
        return Ok(Applied {
            output: done.said.trim_end().to_owned(),
        });
    }
    let ours = done.said.contains("phoenix: still at work on ");
    if matches!(done.code, 124 | 137) || (done.code == BUSY && ours) {
        return judged(done);
    }
    let not_running =
        done.said.contains("lxc-attach: ") && done.said.contains("Failed to get init pid");
    let kind = if not_running {
        FailureKind::Transient
    } else {
        FailureKind::Permanent
    };
    let message = if not_running {
        "the container does not run".to_owned()
    } else {
        format!("it failed (exit code {})", done.code)
    };
    Err(HostError {
        exit_code: Some(done.code),
        output: done.said.trim_end().to_owned(),
        ..HostError::new(kind, message)
    })
}

/// The directory above `bin/`, if the script is in one.
fn base_of(script: &Path) -> String {
    let bin = script.ancestors().find(|dir| dir.ends_with("bin"));
    let base = bin.and_then(Path::parent).unwrap_or(Path::new("/"));
    base.to_string_lossy().into_owned()
}

/// A script with what lies beside it, for a node that has none of it: its name there, and the
/// archive.
fn handed(script: &Path) -> Result<(String, Vec<u8>), HostError> {
    let base = PathBuf::from(base_of(script));
    let own = script.strip_prefix(&base).unwrap_or(script);
    let name = own.to_string_lossy().into_owned();
    let mut files = vec![own.to_owned()];
    if base != Path::new("/") {
        for dir in HANDED {
            gather(&base, Path::new(dir), &mut files);
        }
    }
    files.sort();
    files.dedup();
    let mut entries = Vec::new();
    let mut total = 0;
    for file in files {
        let name = file.to_string_lossy().into_owned();
        let path = base.join(&file);
        let refused = |why: String| {
            let message = format!("cannot hand {} to the node: {why}", path.display());
            HostError::new(FailureKind::Permanent, message)
        };
        if name.len() > NAME_MAX {
            return Err(refused(format!("its name is longer than {NAME_MAX} bytes")));
        }
        let content = fs::read(&path).map_err(|error| refused(error.to_string()))?;
        total += content.len();
        if total > HANDED_MAX {
            return Err(refused(format!(
                "bin/ and etc/ hold more than {} MiB",
                HANDED_MAX >> 20
            )));
        }
        let runs = runs(&path);
        entries.push(Entry {
            name,
            content,
            runs,
        });
    }
    Ok((name, tar::write(&entries)))
}

fn runs(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|facts| facts.permissions().mode() & 0o111 != 0)
}

/// The plain files below a directory, no links followed.
fn gather(base: &Path, dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(base.join(dir)).into_iter().flatten().flatten() {
        let path = dir.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => gather(base, &path, files),
            Ok(kind) if kind.is_file() => files.push(path),
            _ => {}
        }
    }
}
