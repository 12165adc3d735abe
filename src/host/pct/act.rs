//! Actions: the lines that do them on the node, and what is made of how they ended.

use std::thread;
use std::time::{Duration, Instant};

use super::super::{Applied, Call, HostError};
use super::argv::{self, Argv};
use super::conf;
use super::failure;
use super::link::{Done, Lines};
use super::quote::line;
use super::timeouts::Limit;
use super::world;
use super::{Known, PAUSE, PctHost};
use crate::domain::action::{Action, CreateSpec, DirectorySpec};
use crate::domain::desired::Template;
use crate::domain::ids::Ctid;
use crate::domain::observed::{ObservedContainer, TemplateState};
use crate::domain::refusal::{FailureKind, Refusal};
use crate::domain::setting::{Changes, Key};

/// How long a command waits for phoenix's own lock of a container: what an earlier phoenix left
/// was waited for before anything was looked at.
const LOCK_WAIT: u32 = 20;

/// What is said of a container of which a backup is made.
const BACKUP: &str = "CT is locked (backup)";

/// What is to be run for an action.
struct Errand {
    lines: Lines,
    input: Vec<u8>,
    limit: Duration,
    /// For a person: what it is that was run.
    command: String,
}

impl PctHost {
    pub(super) fn act(&self, call: &Call<'_>, action: &Action) -> Result<Applied, HostError> {
        match action {
            Action::RunScript(script) => return self.run_script(call, script),
            Action::CheckHealth(check) => return self.check_health(call.ctid, check),
            _ => {}
        }
        let errand = self.errand(call.ctid, action)?;
        let applied = self.run_errand(call.ctid, &errand)?;
        if let Action::FetchTemplate(template) = action {
            self.fetched(template);
        }
        Ok(applied)
    }

    /// Runs it, again and again while a backup is under way.
    fn run_errand(&self, ctid: Ctid, errand: &Errand) -> Result<Applied, HostError> {
        let patience = self.link.timeouts.duration(Limit::Backup);
        let began = Instant::now();
        let mut said = false;
        loop {
            let (lines, input) = (errand.lines.text(), &errand.input);
            let done = self.link.act(lines, input, errand.limit);
            let error = match done.and_then(|done| judged(&done)) {
                Ok(applied) => return Ok(applied),
                Err(error) => error,
            };
            if error.message != BACKUP || began.elapsed() >= patience {
                return Err(HostError {
                    command: error.command.or_else(|| Some(errand.command.clone())),
                    ..error
                });
            }
            if !said {
                let seconds = patience.as_secs();
                tracing::warn!(%ctid, "waiting for a backup to end, for at most {seconds} s");
                said = true;
            }
            thread::sleep(PAUSE);
        }
    }

    fn errand(&self, ctid: Ctid, action: &Action) -> Result<Errand, HostError> {
        let known = self.known();
        match action {
            Action::FetchTemplate(template) => {
                let storage = storage_for(&known, template);
                let mut errand = Errand::holding(None, 0);
                self.loose(
                    &mut errand,
                    Limit::Download,
                    &argv::download(&storage, &template.file),
                );
                Ok(errand)
            }
            Action::Create(spec) => {
                let archive = archive(&known, spec);
                let mut errand = Errand::holding(Some(ctid), LOCK_WAIT);
                self.step(
                    &mut errand,
                    Limit::Create,
                    &argv::create(ctid, spec, &archive),
                );
                Ok(errand)
            }
            Action::Clone(spec) => {
                let mut errand = Errand::holding(Some(ctid), LOCK_WAIT);
                errand.lines.push("backup", [spec.source.to_string()]);
                self.step(&mut errand, Limit::Clone, &argv::clone(ctid, spec));
                Ok(errand)
            }
            Action::Discard { source } => Ok(self.discard(ctid, *source)),
            Action::Destroy => Ok(self.destroy(ctid)),
            Action::EnsureDirectory(spec) => Ok(Self::ensure_directory(spec)),
            Action::Configure { changes, .. } => self.configure(&known, ctid, changes),
            _ => self.on_existing(&known, ctid, action),
        }
    }

    /// What a container must exist for, whose lock may be somebody's.
    fn on_existing(&self, known: &Known, ctid: Ctid, action: &Action) -> Result<Errand, HostError> {
        let cures = matches!(action, Action::Unlock);
        let mut errand = if cures {
            self.cure_of(ctid)
        } else {
            Errand::holding(Some(ctid), LOCK_WAIT)
        };
        if !cures {
            errand.lines.push("backup", [ctid.to_string()]);
        }
        match action {
            Action::Unlock => {
                let seen = existing(known, ctid)?;
                self.idle(&mut errand, [ctid]);
                if seen.lock.is_some() {
                    self.step(&mut errand, Limit::Set, &argv::unlock(ctid));
                }
                // One at a time is taken; older leftovers are somebody else's.
                let mut newest = seen.snapshots.iter().rev();
                if let Some(snapshot) = newest.find(|snapshot| snapshot.incomplete) {
                    let remove = argv::remove_snapshot(ctid, &snapshot.name);
                    self.step(&mut errand, Limit::Snapshot, &remove);
                }
            }
            Action::Resize { disk, size, .. } => {
                self.step(&mut errand, Limit::Resize, &argv::resize(ctid, disk, *size));
            }
            Action::Snapshot { name } => {
                let seen = known.containers.seen.get(&ctid);
                let receipts = seen.and_then(|seen| seen.receipts.as_ref());
                let told = receipts.map(world::told).unwrap_or_default();
                self.step(
                    &mut errand,
                    Limit::Snapshot,
                    &argv::snapshot(ctid, name, &told),
                );
            }
            Action::Start => self.start(&mut errand, ctid),
            Action::Restart { .. } => {
                let seconds = self.link.timeouts.seconds(Limit::Stop);
                let stop = argv::shutdown(ctid, seconds);
                // It is given its time, and then the time to be stopped hard.
                errand.command_is(&stop);
                errand.loose(seconds.saturating_add(60), &stop);
                self.start(&mut errand, ctid);
            }
            _ => {
                let message = format!("{} is no action on a container", action.kind());
                return Err(HostError::new(FailureKind::Permanent, message));
            }
        }
        Ok(errand)
    }

    fn start(&self, errand: &mut Errand, ctid: Ctid) {
        self.loose(errand, Limit::Start, &argv::start(ctid));
        let seconds = self.link.timeouts.seconds(Limit::Start);
        errand
            .lines
            .push("answers", [ctid.to_string(), seconds.to_string()]);
        errand.more(seconds);
        let id = ctid.to_string();
        errand.lines.push("forget", [&id]);
    }

    /// Raw lines are written into the file, everything else is one `pct set`; both only if the
    /// file still says what was compared.
    fn configure(&self, known: &Known, ctid: Ctid, changes: &Changes) -> Result<Errand, HostError> {
        let seen = existing(known, ctid)?;
        let text = known.containers.texts.get(&ctid).and_then(Option::as_deref);
        let mut errand = Errand::holding(Some(ctid), LOCK_WAIT);
        errand.lines.push("backup", [ctid.to_string()]);
        let mut compared = text.map(conf::digest);
        if changes.keys().any(|key| matches!(key, Key::Lxc(_))) {
            let text = text.ok_or_else(|| {
                HostError::new(
                    FailureKind::Permanent,
                    format!(
                        "phoenix writes raw lines only into a file that it can read and that is \
                         text, and that of container {ctid} is not"
                    ),
                )
            })?;
            let edited = conf::edit_raw(text, changes);
            if edited != text {
                let id = ctid.to_string();
                if let Some(note) = note(known, ctid, seen) {
                    errand.lines.push("given", [&id, &note]);
                }
                errand.lines.push("replace", [id, conf::digest(text)]);
                errand.command = format!("edit /etc/pve/lxc/{ctid}.conf");
                compared = Some(conf::digest(&edited));
                errand.input = edited.into_bytes();
            }
        }
        if let Some(set) = argv::set(ctid, changes, seen, compared.as_deref()) {
            self.step(&mut errand, Limit::Set, &set);
        }
        Ok(errand)
    }

    fn discard(&self, ctid: Ctid, source: Option<Ctid>) -> Errand {
        let mut errand = self.cure_of(ctid);
        self.idle(&mut errand, [ctid].into_iter().chain(source));
        let id = ctid.to_string();
        let source = source.map(|source| source.to_string()).unwrap_or_default();
        let seconds = self.link.timeouts.seconds(Limit::Destroy);
        errand
            .lines
            .push("discard", [&id, &source, &seconds.to_string()]);
        errand.more(seconds.saturating_mul(6));
        errand.command = format!("pct destroy {id} --destroy-unreferenced-disks 1");
        errand
    }

    fn destroy(&self, ctid: Ctid) -> Errand {
        let mut errand = self.cure_of(ctid);
        self.idle(&mut errand, [ctid]);
        errand.lines.push("backup", [ctid.to_string()]);
        let id = ctid.to_string();
        let seconds = self.link.timeouts.seconds(Limit::Destroy);
        errand.lines.push("destroy", [&id, &seconds.to_string()]);
        errand.more(seconds.saturating_mul(4));
        errand.command = format!("pct destroy {id}");
        errand
    }

    /// One at a time on a node, also when a killed phoenix's shell is still at it: what is new in
    /// one place goes by one name until it is whole.
    fn ensure_directory(spec: &DirectorySpec) -> Errand {
        let mut errand = Errand::holding(None, 0);
        let owner = spec.owner.map(|(uid, gid)| format!("{uid}:{gid}"));
        // Of a directory `chmod` takes set-ID bits away only with a fifth digit.
        let mode = spec.mode.map(|mode| format!("{mode:05o}"));
        let (owner, mode) = (owner.unwrap_or_default(), mode.unwrap_or_default());
        errand
            .lines
            .push("take", ["directories", &LOCK_WAIT.to_string()])
            .push("directory", ["60", &spec.path, &owner, &mode]);
        errand.more(LOCK_WAIT);
        // Nine commands at most.
        errand.more(600);
        errand.command = format!("mkdir -p {}", spec.path);
        errand
    }

    /// What cures a container of a killed command waits for what that command left at work.
    fn cure_of(&self, ctid: Ctid) -> Errand {
        Errand::holding(Some(ctid), self.link.timeouts.seconds(Limit::Leftover))
    }

    /// Nobody's worker is at these containers any more: it would go on where the cure has been.
    fn idle(&self, errand: &mut Errand, ctids: impl IntoIterator<Item = Ctid>) {
        let seconds = self.link.timeouts.seconds(Limit::Leftover);
        let ids = ctids.into_iter().map(|ctid| ctid.to_string());
        let words = std::iter::once(seconds.to_string()).chain(ids);
        errand.lines.push("workers", words);
        errand.more(seconds);
    }

    fn step(&self, errand: &mut Errand, limit: Limit, argv: &Argv) {
        let seconds = self.link.timeouts.seconds(limit);
        errand.command_is(argv);
        errand.run("step", seconds, argv);
    }

    fn loose(&self, errand: &mut Errand, limit: Limit, argv: &Argv) {
        errand.command_is(argv);
        errand.loose(self.link.timeouts.seconds(limit), argv);
    }

    /// A template is there now.
    fn fetched(&self, template: &Template) {
        let mut known = self.known();
        let storage = storage_for(&known, template);
        let volid = format!("{storage}:vztmpl/{}", template.file);
        known.archives.insert(volid);
        if let Some(facts) = &mut known.facts {
            facts
                .templates
                .insert(template.file.clone(), TemplateState::Present);
        }
    }
}

impl Errand {
    /// With phoenix's lock of a container, which is waited for.
    fn holding(ctid: Option<Ctid>, wait: u32) -> Self {
        let mut lines = Lines::default();
        if let Some(ctid) = ctid {
            lines.push("take", [ctid.to_string(), wait.to_string()]);
        }
        let mut errand = Self {
            lines,
            input: Vec::new(),
            limit: Duration::from_secs(60),
            command: String::new(),
        };
        errand.more(wait);
        errand
    }

    /// What it is called, after its first command.
    fn command_is(&mut self, argv: &Argv) {
        if self.command.is_empty() {
            self.command = line(argv);
        }
    }

    fn more(&mut self, seconds: u32) {
        let more = Duration::from_secs(seconds.into());
        self.limit = self.limit.saturating_add(more);
    }

    fn run(&mut self, function: &str, seconds: u32, argv: &Argv) {
        let words = std::iter::once(seconds.to_string()).chain(argv.iter().cloned());
        self.lines.push(function, words);
        self.more(seconds.saturating_add(10));
    }

    /// Without phoenix's lock: what stays must not keep it.
    fn loose(&mut self, seconds: u32, argv: &Argv) {
        self.run("loose", seconds, argv);
    }
}

fn existing(known: &Known, ctid: Ctid) -> Result<&ObservedContainer, HostError> {
    let found = known.containers.seen.get(&ctid).map(AsRef::as_ref);
    found.ok_or_else(|| Refusal::Missing { ctid }.into())
}

/// The archive's volume id: on the storage that is named, else wherever it is.
fn archive(known: &Known, spec: &CreateSpec) -> String {
    let template = &spec.template;
    let named = template.storage.as_deref().unwrap_or("local");
    let named = format!("{named}:vztmpl/{}", template.file);
    if known.archives.contains(&named) {
        return named;
    }
    let mut all = known.archives.iter();
    let found = all.find(|volid| world::archive(volid) == template.file);
    found.cloned().unwrap_or(named)
}

/// The storage that a template is downloaded to.
fn storage_for(known: &Known, template: &Template) -> String {
    let named = template.storage.clone();
    let first = || known.template_storage.clone();
    named.or_else(first).unwrap_or_else(|| "local".to_owned())
}

/// The note of what a running container was started with, if there is none yet of this start.
fn note(known: &Known, ctid: Ctid, seen: &ObservedContainer) -> Option<String> {
    let socket = known.running.get(&ctid)?;
    let noted = known
        .given
        .get(&ctid)
        .is_some_and(|note| world::given(note, socket).is_some());
    (!noted).then(|| world::note(socket, seen))
}

/// What came of something that was done, by what it said.
pub(super) fn judged(done: &Done) -> Result<Applied, HostError> {
    let said = done.said.trim_end();
    if done.code == 0 {
        return match failure::unowned(said) {
            None => Ok(Applied {
                output: said.to_owned(),
            }),
            Some(why) => {
                tracing::warn!("a command failed and did not say so by its exit code: {why}");
                Err(HostError {
                    exit_code: Some(0),
                    output: said.to_owned(),
                    unseen: failure::unseen(&why),
                    ..HostError::new(FailureKind::Permanent, why)
                })
            }
        };
    }
    let kind = failure::kind(done.code, said);
    let message = match (kind, failure::reason(said)) {
        (FailureKind::UnknownOutcome, _) => {
            "it did not end in time and was stopped; what it did is not known".to_owned()
        }
        (_, Some(why)) => why,
        (_, None) => format!("it failed (exit code {}) and said nothing", done.code),
    };
    Err(HostError {
        exit_code: Some(done.code),
        output: said.to_owned(),
        ..HostError::new(kind, message)
    })
}
