//! Limits of memory and processors: how LXC's configuration says them, and the kernel's files.

use std::fs;
use std::path::{Path, PathBuf};

use super::text::Line;
use crate::domain::setting::{Key, Settings, Value};

/// The period that a share of the processors is measured by, in microseconds.
const PERIOD: u64 = 100_000;
const MIB: u64 = 1024 * 1024;
/// More than this is the kernel's way to say: no limit.
const UNLIMITED: u64 = 1 << 60;

/// What this machine's control groups can limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cgroups {
    pub(super) unified: bool,
    pub(super) memory: bool,
    pub(super) swap: bool,
    pub(super) cpu: bool,
}

/// Where they are mounted.
const ROOT: &str = "/sys/fs/cgroup";

impl Cgroups {
    /// Looks at this machine.
    pub(super) fn probe() -> Self {
        Self::probe_at(Path::new(ROOT), Path::new("/proc"))
    }

    fn probe_at(root: &Path, proc: &Path) -> Self {
        let controllers = fs::read_to_string(root.join("cgroup.controllers"));
        match controllers {
            Ok(text) => {
                let has = |name: &str| text.split_whitespace().any(|word| word == name);
                Self {
                    unified: true,
                    memory: has("memory"),
                    swap: has("memory") && proc.join("swaps").exists(),
                    cpu: has("cpu"),
                }
            }
            Err(_) => Self {
                unified: false,
                memory: root.join("memory/memory.limit_in_bytes").exists(),
                swap: root.join("memory/memory.memsw.limit_in_bytes").exists(),
                cpu: root.join("cpu/cpu.cfs_quota_us").exists(),
            },
        }
    }

    fn prefix(self) -> &'static str {
        if self.unified {
            "lxc.cgroup2."
        } else {
            "lxc.cgroup."
        }
    }

    /// The files of the limits, with their values, in the order in which they must be written
    /// when a container starts.
    pub(super) fn files(self, settings: &Settings) -> Vec<(&'static str, String)> {
        let number = |key: &Key| match settings.get(key) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        };
        let mut files = Vec::new();
        let memory = number(&Key::Memory).filter(|memory| self.memory && *memory > 0);
        if let Some(memory) = memory {
            let file = if self.unified {
                "memory.max"
            } else {
                "memory.limit_in_bytes"
            };
            files.push((file, format!("{memory}M")));
        }
        if let (Some(memory), Some(swap)) = (memory, number(&Key::Swap).filter(|_| self.swap)) {
            files.push(match self.unified {
                true => ("memory.swap.max", format!("{swap}M")),
                false => (
                    "memory.memsw.limit_in_bytes",
                    format!("{}M", memory.saturating_add(swap)),
                ),
            });
        }
        if let Some(cores) = number(&Key::Cores).filter(|cores| self.cpu && *cores > 0) {
            let quota = cores.saturating_mul(PERIOD);
            if self.unified {
                files.push(("cpu.max", format!("{quota} {PERIOD}")));
            } else {
                files.push(("cpu.cfs_period_us", PERIOD.to_string()));
                files.push(("cpu.cfs_quota_us", quota.to_string()));
            }
        }
        files
    }

    /// The same as lines of a configuration.
    pub(super) fn lines(self, settings: &Settings) -> Vec<Line> {
        let files = self.files(settings).into_iter();
        let line = |(file, value)| Line::entry(format!("{}{file}", self.prefix()), value);
        files.map(line).collect()
    }

    /// What the values of these files say, as `find` finds them. A limit that is not there is
    /// shown as 0: none.
    pub(super) fn read(self, find: &dyn Fn(&str) -> Option<String>) -> Settings {
        let mut settings = Settings::new();
        let bytes = |file: &str| find(file).as_deref().and_then(size);
        if self.memory {
            let file = if self.unified {
                "memory.max"
            } else {
                "memory.limit_in_bytes"
            };
            let memory = bytes(file).unwrap_or(0);
            settings.insert(Key::Memory, Value::Number(memory / MIB));
            let swap = match self.unified {
                true => bytes("memory.swap.max"),
                false => {
                    bytes("memory.memsw.limit_in_bytes").map(|both| both.saturating_sub(memory))
                }
            };
            if let Some(swap) = swap.filter(|_| self.swap) {
                settings.insert(Key::Swap, Value::Number(swap / MIB));
            }
        }
        let cores = match self.unified {
            true => find("cpu.max").and_then(|text| share(&text)),
            false => {
                let text = |file: &str| find(file).unwrap_or_default();
                let both = format!("{} {}", text("cpu.cfs_quota_us"), text("cpu.cfs_period_us"));
                share(&both)
            }
        };
        if let Some(cores) = cores.filter(|_| self.cpu) {
            settings.insert(Key::Cores, Value::Number(cores));
        }
        settings
    }

    /// Whether a line is one of the limits.
    pub(super) fn owns(self, key: &str) -> bool {
        let files: &[(&str, bool)] = match self.unified {
            true => &[
                ("memory.max", self.memory),
                ("memory.swap.max", self.swap),
                ("cpu.max", self.cpu),
            ],
            false => &[
                ("memory.limit_in_bytes", self.memory),
                ("memory.memsw.limit_in_bytes", self.swap),
                ("cpu.cfs_period_us", self.cpu),
                ("cpu.cfs_quota_us", self.cpu),
            ],
        };
        let file = key.strip_prefix(self.prefix());
        file.is_some_and(|file| files.contains(&(file, true)))
    }

    /// Which of the settings are kept as notes, since the kernel cannot limit by them.
    pub(super) fn lacks(self, key: &Key) -> bool {
        match key {
            Key::Memory => !self.memory,
            Key::Swap => !self.swap,
            Key::Cores => !self.cpu,
            _ => false,
        }
    }

    /// The file of a running container, by what `/proc/PID/cgroup` says of its init.
    pub(super) fn file(self, membership: &str, name: &str) -> Option<PathBuf> {
        let controller = name.split('.').next()?;
        for line in membership.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let here = match self.unified {
                true => controllers.is_empty(),
                false => controllers.split(',').any(|own| own == controller),
            };
            if !here {
                continue;
            }
            let mount = match self.unified {
                true => PathBuf::from(ROOT),
                false => Path::new(ROOT).join(controller),
            };
            return Some(mount.join(payload(path)?).join(name));
        }
        None
    }
}

/// The part of a path down to the container's own group: its init may have moved further in.
fn payload(path: &str) -> Option<PathBuf> {
    let mut found = PathBuf::new();
    for part in path
        .split('/')
        .filter(|part| !part.is_empty() && *part != "..")
    {
        found.push(part);
        if part.starts_with("lxc.payload") {
            return Some(found);
        }
    }
    None
}

/// A number of bytes; none for no limit.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = match text.chars().last()?.to_ascii_uppercase() {
        'K' => (&text[..text.len() - 1], 1024),
        'M' => (&text[..text.len() - 1], MIB),
        'G' => (&text[..text.len() - 1], 1024 * MIB),
        _ => (text, 1),
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    (bytes < UNLIMITED).then_some(bytes)
}

/// Processors by `QUOTA PERIOD`; parts of one count as one.
fn share(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace();
    let quota: u64 = words.next()?.parse().ok()?;
    let period: u64 = words.next()?.parse().ok()?;
    (period > 0).then(|| quota.div_ceil(period))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: Cgroups = Cgroups {
        unified: false,
        memory: true,
        swap: true,
        cpu: true,
    };
    const V2: Cgroups = Cgroups {
        unified: true,
        ..V1
    };

    /// A machine's files, as far as they matter: of the first version, of both side by side, and
    /// of the second, with and without what the kernel may leave out.
    #[test]
    fn machines_are_told_apart() {
        let memory = "memory/memory.limit_in_bytes";
        let memsw = "memory/memory.memsw.limit_in_bytes";
        let cpu = "cpu/cpu.cfs_quota_us";
        let hybrid = "unified/cgroup.controllers";
        let none = Cgroups {
            unified: false,
            memory: false,
            swap: false,
            cpu: false,
        };
        let machines: [(&[(&str, &str)], Cgroups); 8] = [
            (&[(memory, ""), (memsw, ""), (cpu, "")], V1),
            (
                &[(memory, ""), (memsw, ""), (cpu, ""), (hybrid, "hugetlb")],
                V1,
            ),
            (
                &[(memory, ""), (cpu, ""), (hybrid, "")],
                Cgroups { swap: false, ..V1 },
            ),
            (&[], none),
            (
                &[
                    ("cgroup.controllers", "cpuset cpu io memory pids\n"),
                    ("proc/swaps", ""),
                ],
                V2,
            ),
            (
                &[("cgroup.controllers", "cpuset cpu io memory pids\n")],
                Cgroups { swap: false, ..V2 },
            ),
            (
                &[
                    ("cgroup.controllers", "cpuset io pids\n"),
                    ("proc/swaps", ""),
                ],
                Cgroups {
                    unified: true,
                    ..none
                },
            ),
            // Whole words.
            (
                &[("cgroup.controllers", "cpuset memory_recursiveprot\n")],
                Cgroups {
                    unified: true,
                    ..none
                },
            ),
        ];
        for (files, expected) in machines {
            let dir = tempfile::tempdir().expect("a directory");
            for (name, text) in files {
                let path = dir.path().join(name);
                fs::create_dir_all(path.parent().expect("a parent")).expect("made");
                fs::write(path, text).expect("written");
            }
            let found = Cgroups::probe_at(dir.path(), &dir.path().join("proc"));
            assert_eq!(found, expected, "{files:?}");
        }
    }

    #[test]
    fn what_a_kernel_lacks_is_neither_written_nor_owned() {
        let lacking = Cgroups {
            swap: false,
            cpu: false,
            ..V2
        };
        let files = lacking.files(&settings(256, 64, 3));
        assert_eq!(files, [("memory.max", "256M".to_owned())]);
        assert!(lacking.lacks(&Key::Swap) && lacking.lacks(&Key::Cores));
        assert!(!lacking.lacks(&Key::Memory));
        assert!(!lacking.owns("lxc.cgroup2.cpu.max") && !lacking.owns("lxc.cgroup.memory.max"));
        assert!(lacking.owns("lxc.cgroup2.memory.max"));
    }

    fn settings(memory: u64, swap: u64, cores: u64) -> Settings {
        [
            (Key::Memory, memory),
            (Key::Swap, swap),
            (Key::Cores, cores),
        ]
        .map(|(key, number)| (key, Value::Number(number)))
        .into()
    }

    #[test]
    fn limits_round_trip() {
        for cgroups in [V1, V2] {
            let written = settings(256, 0, 3);
            let files = cgroups.files(&written);
            let find = |name: &str| {
                let found = files.iter().find(|(file, _)| *file == name);
                found.map(|(_, value)| value.clone())
            };
            assert_eq!(cgroups.read(&find), written);
            for line in cgroups.lines(&written) {
                let Line::Entry(key, _) = line else {
                    panic!("no entry")
                };
                assert!(cgroups.owns(&key), "{key}");
            }
        }
    }

    #[test]
    fn no_limit_is_shown_as_none() {
        let find = |_: &str| Some("9223372036854771712".to_owned());
        assert_eq!(V1.read(&find).get(&Key::Memory), Some(&Value::Number(0)));
        let find = |_: &str| Some("max".to_owned());
        assert_eq!(V2.read(&find).get(&Key::Memory), Some(&Value::Number(0)));
    }

    #[test]
    fn the_group_of_a_container_is_found_below_which_init_moved() {
        let v1 = "4:memory:/lxc.payload.900/init.scope\n1:cpu,cpuacct:/lxc.payload.900\n";
        let file = V1.file(v1, "memory.limit_in_bytes");
        assert_eq!(
            file,
            Some("/sys/fs/cgroup/memory/lxc.payload.900/memory.limit_in_bytes".into())
        );
        let file = V2.file("0::/lxc.payload.900/init.scope\n", "cpu.max");
        assert_eq!(file, Some("/sys/fs/cgroup/lxc.payload.900/cpu.max".into()));
        assert_eq!(
            V1.file("4:memory:/user.slice\n", "memory.limit_in_bytes"),
            None
        );
    }
}
