//! Everything that was recorded of the real tools, played to the stand-in: the same text, the
//! same refusal, the same resulting configuration.
//!
//! `recorded/` has the sessions in a small form: `$ COMMAND` with its arguments separated by
//! tabs, `= CODE`, `> ` and `! ` before the lines of the two streams; what file system tools,
//! `tar` and `rsync` chatted about was left out. They were recorded one after the other on one
//! machine, so they are played one after the other on one node.

use std::fs;

use rustix::fs::{FlockOperation, flock};

use crate::misfits::MISFITS;
use crate::site::Site;

/// A recorded command.
struct Entry {
    /// What the recorder did to it.
    strike: Option<String>,
    words: Vec<String>,
    code: Option<i32>,
    out: String,
    err: String,
}

fn unescaped(word: &str) -> String {
    word.replace("\\n", "\n").replace("\\\\", "\\")
}

fn entries(text: &str) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    let mut strike = None;
    for line in text.lines() {
        let (mark, rest) = line.split_at(line.len().min(2));
        match (mark, found.last_mut()) {
            ("@ ", _) => strike = Some(rest.to_owned()),
            ("$ ", _) => found.push(Entry {
                strike: strike.take(),
                words: rest.split('\t').map(unescaped).collect(),
                code: None,
                out: String::new(),
                err: String::new(),
            }),
            ("= ", Some(entry)) => entry.code = rest.parse().ok(),
            ("> ", Some(entry)) => entry.out.push_str(&format!("{rest}\n")),
            ("! " | "!", Some(entry)) => entry.err.push_str(&format!("{rest}\n")),
            _ => panic!("{line}"),
        }
    }
    found
}

/// What is different at every run: generated addresses, times.
fn masked(text: &str, given: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut line = line.to_owned();
        if let Some((head, tail)) = line.clone().split_once("hwaddr=")
            && tail.len() >= 17
            && !given.contains(&tail[..17])
        {
            line = format!("{head}hwaddr=NEW{}", &tail[17..]);
        }
        if let Some((head, _)) = line.clone().split_once("snaptime: ") {
            line = format!("{head}snaptime: TIME");
        }
        if let Some(at) = line.find(" 20").filter(|_| line.contains("`-> ")) {
            line = format!("{} TIME{}", &line[..at], &line[at + 20..]);
        }
        lines.push(line.trim_end().to_owned());
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.join("\n")
}

/// What happens instead of a command that does not fit.
pub enum Deed {
    /// It is left out.
    Nothing,
    /// It is left out, and the configuration becomes what it came to there: texts in the file of
    /// a container are replaced.
    Edit(&'static str, &'static [(&'static str, &'static str)]),
    /// These are run in its place, as with [`Deed::Before`].
    Instead(&'static [&'static [&'static str]]),
    /// It is run while somebody else holds the lock file.
    Held(&'static str),
    /// These commands, which the recorder did not write down, are run before it; `write` puts a
    /// configuration in place, `clean` takes a container away, `volume` makes a volume that no
    /// configuration names.
    Before(&'static [&'static [&'static str]]),
}

struct Replay {
    site: Site,
    used: Vec<usize>,
    mismatches: Vec<String>,
    given: String,
    compared: usize,
}

impl Replay {
    fn misfit(&mut self, session: &str, command: &str) -> Option<&'static Deed> {
        let fits = |(at, (of, text, ..)): &(usize, &(&str, &str, &str, Deed))| {
            *of == session && command.starts_with(text) && !self.used.contains(at)
        };
        let (at, (.., deed)) = MISFITS.iter().enumerate().find(fits)?;
        self.used.push(at);
        Some(deed)
    }

    fn play(&mut self, session: &str, entry: &Entry) {
        let command = entry.words.join(" ");
        let mut held = None;
        match self.misfit(session, &command) {
            None => {}
            Some(Deed::Nothing) => return,
            Some(Deed::Edit(id, texts)) => {
                let mut text = self.site.conf(id);
                for (from, to) in *texts {
                    assert!(
                        text.contains(from),
                        "{session} {command}: {from:?} in {text}"
                    );
                    text = text.replacen(from, to, 1);
                }
                self.site
                    .write(&format!("etc/pve/nodes/vm/lxc/{id}.conf"), &text);
                return;
            }
            Some(Deed::Held(id)) => {
                let path = self
                    .site
                    .path(&format!("run/lock/lxc/pve-config-{id}.lock"));
                let file = fs::File::create(path).expect("a lock file");
                flock(&file, FlockOperation::LockExclusive).expect("the lock");
                held = Some(file);
            }
            Some(Deed::Instead(commands)) => {
                commands.iter().for_each(|words| self.unrecorded(words));
                return;
            }
            Some(Deed::Before(commands)) => {
                commands.iter().for_each(|words| self.unrecorded(words));
            }
        }
        self.compare(session, entry, &command);
        drop(held);
    }

    fn unrecorded(&self, words: &[&str]) {
        match words {
            ["write", id, text] => self
                .site
                .write(&format!("etc/pve/nodes/vm/lxc/{id}.conf"), text),
            ["clean", id] => {
                let _ = fs::remove_file(self.site.path(&format!("etc/pve/nodes/vm/lxc/{id}.conf")));
                let _ = fs::remove_dir_all(self.site.path(&format!("var/lib/vz/images/{id}")));
            }
            ["volume", path] => fs::create_dir_all(self.site.path(path)).expect("a directory"),
            _ => _ = self.site.pct(words),
        }
    }

    /// What the recorder killed in the middle.
    fn strike(&self, entry: &Entry) {
        let what = match entry.strike.as_deref() {
            None | Some("none") => return,
            Some("parent" | "group") => "kill-tool",
            Some("all") => "kill-tools",
            Some("term") => "term-tool",
            Some(other) => panic!("{other}"),
        };
        let last: u32 = self.site.read("standin/counter").parse().unwrap_or(0);
        self.site
            .write("standin/point", &format!("{} middle {what}", last + 1));
    }

    fn compare(&mut self, session: &str, entry: &Entry, command: &str) {
        self.compared += 1;
        self.strike(entry);
        let tmp = self.site.path("tmp").display().to_string();
        let (code, out, err) = match entry.words[0].as_str() {
            "cat" => {
                let path = &entry.words[1];
                let text = self.site.read(path);
                (0, text, String::new())
            }
            program => {
                let words: Vec<String> = entry.words[1..]
                    .iter()
                    .map(|word| match word.strip_prefix("/tmp/") {
                        Some(rest) => format!("{tmp}/{rest}"),
                        None => word.clone(),
                    })
                    .collect();
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let output = self.site.run(program, &words);
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&tmp, "/tmp");
                (
                    output.status.code().unwrap_or(-1),
                    text(&output.stdout),
                    text(&output.stderr),
                )
            }
        };
        let mut check = |what: &str, ours: String, theirs: String| {
            if ours != theirs {
                let text = format!(
                    "{session}: {command}\n  {what}, recorded:\n{theirs}\n  {what}, stand-in:\n{ours}\n"
                );
                self.mismatches.push(text);
            }
        };
        if let Some(recorded) = entry.code {
            let exact = entry.words.get(1).is_some_and(|word| word == "exec");
            let shown = |code: i32| {
                if exact {
                    code.to_string()
                } else {
                    (code == 0).to_string()
                }
            };
            check("exit code", shown(code), shown(recorded));
        }
        if entry.strike.is_some() {
            // A worker that lives on comes to its end, whichever that is.
            workers_end(&entry.words[2]);
            return;
        }
        let given = &self.given;
        check("stdout", masked(&out, given), masked(&entry.out, given));
        check("stderr", masked(&err, given), masked(&entry.err, given));
    }
}

/// Waits until no worker is at a container any more.
fn workers_end(id: &str) {
    let at_it = |entry: fs::DirEntry| {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        words.starts_with("task UPID:vm:") && words.contains(&format!(":{id}:root@pam:"))
    };
    let works = || {
        fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .any(at_it)
    };
    while works() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

pub fn sessions() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proxmox/recorded");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("recorded")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut replay = Replay {
        site: Site::new(),
        used: Vec::new(),
        mismatches: Vec::new(),
        given: String::new(),
        compared: 0,
    };
    replay.site.write("tmp/pushme", "hello\n");
    for file in files {
        let session = file.file_stem().expect("a name").to_string_lossy()[..2].to_owned();
        let text = fs::read_to_string(&file).expect("a session");
        let all = entries(&text);
        let words = all.iter().flat_map(|entry| entry.words.iter());
        replay.given.extend(words.map(|word| format!("{word}\n")));
        for entry in &all {
            replay.play(&session, entry);
        }
    }
    let all = replay.mismatches.join("\n");
    assert!(
        all.is_empty(),
        "{} of {}:\n{all}",
        replay.mismatches.len(),
        replay.compared
    );
    assert_eq!(
        replay.used.len(),
        MISFITS.len(),
        "every exception is still one"
    );
}
