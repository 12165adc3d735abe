//! A disk as a journal's life left it, rebuilt from what `disk.c` noted, up to any moment: what
//! is on it for certain, and what was written since the last sync and may be on it or not.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

/// What was done, in order.
#[derive(Debug)]
pub(super) enum Note {
    Create {
        dir: u64,
        inode: u64,
        name: String,
    },
    MakeDir {
        dir: u64,
        inode: u64,
        name: String,
    },
    Write {
        inode: u64,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        inode: u64,
        size: usize,
    },
    Sync {
        inode: u64,
    },
    Rename {
        dir: u64,
        to_dir: u64,
        inode: u64,
        from: String,
        to: String,
    },
    Unlink {
        dir: u64,
        name: String,
    },
    /// Written to the file of marks.
    Mark {
        text: String,
    },
}

impl Note {
    /// Reads what `disk.c` noted.
    pub(super) fn all(mut bytes: &[u8]) -> Vec<Self> {
        let mut notes = Vec::new();
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(40);
            let number = |n: usize| {
                let bytes = head[8 * n..8 * n + 8].try_into().expect("eight bytes");
                u64::from_ne_bytes(bytes)
            };
            let length = usize::try_from(number(4)).expect("a length");
            let (content, rest) = rest.split_at(length);
            bytes = rest;
            notes.push(Self::one(
                number(0),
                [number(1), number(2), number(3)],
                content,
            ));
        }
        notes
    }

    fn one(kind: u64, [a, b, c]: [u64; 3], content: &[u8]) -> Self {
        let text = || String::from_utf8(content.to_vec()).expect("UTF-8");
        let size = usize::try_from(b).expect("a size");
        match kind {
            1 => Self::Create {
                dir: a,
                inode: b,
                name: text(),
            },
            2 => Self::MakeDir {
                dir: a,
                inode: b,
                name: text(),
            },
            3 => Self::Write {
                inode: a,
                at: size,
                bytes: content.to_vec(),
            },
            4 => Self::Truncate { inode: a, size },
            5 => Self::Sync { inode: a },
            6 => {
                let names = text();
                let (from, to) = names.split_once('/').expect("two names");
                let (from, to) = (from.to_owned(), to.to_owned());
                Self::Rename {
                    dir: a,
                    to_dir: b,
                    inode: c,
                    from,
                    to,
                }
            }
            7 => Self::Unlink {
                dir: a,
                name: text(),
            },
            8 => Self::Mark { text: text() },
            other => panic!("note of kind {other}"),
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate { size: usize },
}

#[derive(Clone, Debug)]
enum Name {
    Put {
        name: String,
        node: usize,
    },
    Move {
        from: String,
        to: String,
        node: usize,
    },
    Gone {
        name: String,
    },
}

#[derive(Debug)]
enum Node {
    File {
        durable: Vec<u8>,
        pending: Vec<Change>,
    },
    Dir {
        durable: BTreeMap<String, usize>,
        pending: Vec<Name>,
    },
}

/// Decides what of the unsynced is on the disk.
pub(super) trait Fate {
    /// Which of so many changes of a file's content.
    fn content(&mut self, changes: usize) -> Vec<bool>;
    /// Which of so many changes of a directory.
    fn names(&mut self, changes: usize) -> Vec<bool>;
    /// How much of a write that is the last one on the disk.
    fn torn(&mut self, length: usize) -> usize;
}

/// The disk. Its first directory is the root, and is there.
pub(super) struct Disk {
    nodes: Vec<Node>,
    /// Which node an inode's number means now; numbers may be used again.
    inodes: HashMap<u64, usize>,
}

impl Disk {
    /// After these notes.
    pub(super) fn after(notes: &[Note]) -> Self {
        let mut disk = Self {
            nodes: Vec::new(),
            inodes: HashMap::new(),
        };
        notes.iter().for_each(|note| disk.note(note));
        disk
    }

    fn add(&mut self, inode: u64, node: Node) -> usize {
        self.nodes.push(node);
        self.inodes.insert(inode, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    fn name(&mut self, dir: u64, change: Name) {
        // The root's own directory is none of ours.
        let Some(dir) = self.inodes.get(&dir) else {
            return;
        };
        if let Node::Dir { pending, .. } = &mut self.nodes[*dir] {
            pending.push(change);
        }
    }

    fn content(&mut self, inode: u64, change: Change) {
        if let Node::File { pending, .. } = &mut self.nodes[self.inodes[&inode]] {
            pending.push(change);
        }
    }

    fn note(&mut self, note: &Note) {
        match note {
            Note::Create { dir, inode, name } => {
                let file = Node::File {
                    durable: Vec::new(),
                    pending: Vec::new(),
                };
                let node = self.add(*inode, file);
                self.name(
                    *dir,
                    Name::Put {
                        name: name.clone(),
                        node,
                    },
                );
            }
            Note::MakeDir { dir, inode, name } => {
                let made = Node::Dir {
                    durable: BTreeMap::new(),
                    pending: Vec::new(),
                };
                let node = self.add(*inode, made);
                self.name(
                    *dir,
                    Name::Put {
                        name: name.clone(),
                        node,
                    },
                );
            }
            Note::Write { inode, at, bytes } => {
                self.content(
                    *inode,
                    Change::Write {
                        at: *at,
                        bytes: bytes.clone(),
                    },
                );
            }
            Note::Truncate { inode, size } => {
                self.content(*inode, Change::Truncate { size: *size });
            }
            Note::Sync { inode } => match &mut self.nodes[self.inodes[inode]] {
                Node::File { durable, pending } => {
                    pending.drain(..).for_each(|change| change.make(durable));
                }
                Node::Dir { durable, pending } => {
                    pending.drain(..).for_each(|change| change.make(durable));
                }
            },
            Note::Rename {
                dir,
                to_dir,
                inode,
                from,
                to,
            } => {
                let node = self.inodes[inode];
                if dir == to_dir {
                    let (from, to) = (from.clone(), to.clone());
                    self.name(*dir, Name::Move { from, to, node });
                } else {
                    self.name(
                        *to_dir,
                        Name::Put {
                            name: to.clone(),
                            node,
                        },
                    );
                    self.name(*dir, Name::Gone { name: from.clone() });
                }
            }
            Note::Unlink { dir, name } => self.name(*dir, Name::Gone { name: name.clone() }),
            Note::Mark { .. } => {}
        }
    }

    /// Writes what a crash now could leave.
    pub(super) fn write(&self, to: &Path, fate: &mut dyn Fate) {
        self.write_node(0, to, fate);
    }

    fn write_node(&self, node: usize, to: &Path, fate: &mut dyn Fate) {
        match &self.nodes[node] {
            Node::File { durable, pending } => {
                let mut content = durable.clone();
                let kept = fate.content(pending.len());
                let last = kept.iter().rposition(|kept| *kept);
                for (index, change) in pending.iter().enumerate().filter(|(n, _)| kept[*n]) {
                    match change {
                        Change::Write { at, bytes } if Some(index) == last => {
                            let length = fate.torn(bytes.len());
                            let bytes = bytes[..length].to_vec();
                            Change::Write { at: *at, bytes }.make(&mut content);
                        }
                        change => change.clone().make(&mut content),
                    }
                }
                fs::write(to, content).expect("written");
            }
            Node::Dir { durable, pending } => {
                fs::create_dir(to).expect("made");
                let mut names = durable.clone();
                let kept = fate.names(pending.len());
                for (change, _) in pending.iter().zip(kept).filter(|(_, kept)| *kept) {
                    change.clone().make(&mut names);
                }
                for (name, node) in names {
                    self.write_node(node, &to.join(name), fate);
                }
            }
        }
    }
}

impl Change {
    fn make(self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                if bytes.is_empty() {
                    return;
                }
                content.resize(content.len().max(end), 0);
                content[at..end].copy_from_slice(&bytes);
            }
            Self::Truncate { size } => content.resize(size, 0),
        }
    }
}

impl Name {
    fn make(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Put { name, node } => _ = names.insert(name, node),
            Self::Move { from, to, node } => {
                names.remove(&from);
                names.insert(to, node);
            }
            Self::Gone { name } => _ = names.remove(&name),
        }
    }
}
