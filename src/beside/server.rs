//! The side that answers, in threads of its own beside the run.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::Shutdown;

use super::protocol::{self, About, Ask, End, MAX_REQUEST, Reply, Request, VERSION};
use super::socket::{self, Place};
use crate::domain::event::Entry;
use crate::domain::ids::{Ctid, RunId};
use crate::domain::record::Record;
use crate::journal::{JournalError, Reader};

/// How many are answered at a time.
const MOST: usize = 16;
/// How long a request may take to arrive, whole.
const REQUEST: Duration = Duration::from_secs(2);
/// How long a client may leave what it is told unread.
const WRITE: Duration = Duration::from_secs(5);
/// How often a follower to whom nothing happens is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long the end of a run waits for those who are being answered.
const GRACE: Duration = Duration::from_millis(500);

/// Answers until it is dropped. That must be before the journal is closed.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    listener: Arc<UnixListener>,
    acceptor: Option<JoinHandle<()>>,
    place: Place,
}

struct Shared {
    reader: Reader,
    about: About,
    stop: AtomicBool,
    state: Mutex<State>,
    /// A client is gone.
    gone: Condvar,
    /// What is known, folded as far as somebody asked.
    record: Mutex<Arc<Record>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    run: Option<RunId>,
    clients: BTreeMap<u64, UnixStream>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a thread that panicked left is whole: nothing is half changed under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Begins to answer. Only whoever holds the journal may.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(state: &Path, reader: Reader, about: About) -> io::Result<Self> {
        let place = Place::open(state)?;
        let listener = Arc::new(place.listen()?);
        let shared = Arc::new(Shared {
            reader,
            about,
            stop: AtomicBool::new(false),
            state: Mutex::default(),
            gone: Condvar::new(),
            record: Mutex::default(),
        });
        let acceptor = {
            let (shared, listener) = (Arc::clone(&shared), Arc::clone(&listener));
            let named = std::thread::Builder::new().name("beside".to_owned());
            named.spawn(move || accept(&shared, &listener))?
        };
        Ok(Self {
            shared,
            listener,
            acceptor: Some(acceptor),
            place,
        })
    }

    /// Spares whoever asks first the reading of what is known already.
    pub fn knows(&self, record: &Arc<Record>) {
        lock(&self.shared.record).clone_from(record);
    }

    /// Says which run it is.
    pub fn works_on(&self, run: RunId) {
        lock(&self.shared.state).run = Some(run);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.place.remove();
        self.shared.stop.store(true, Ordering::SeqCst);
        // `accept` returns with an error then.
        let _ = rustix::net::shutdown(self.listener.as_fd(), Shutdown::Both);
        if let Some(acceptor) = self.acceptor.take() {
            // A thread that panicked has said so.
            let _ = acceptor.join();
        }
        self.shared.reader.wake();
        let mut state = lock(&self.shared.state);
        for client in state.clients.values() {
            // Who has not asked yet never will.
            let _ = client.shutdown(std::net::Shutdown::Read);
        }
        let began = Instant::now();
        let mut cut = false;
        while !state.clients.is_empty() {
            let left = GRACE.saturating_sub(began.elapsed());
            if left.is_zero() && !cut {
                cut = true;
                for client in state.clients.values() {
                    let _ = client.shutdown(std::net::Shutdown::Both);
                }
            }
            let left = if cut { GRACE } else { left };
            let waited = self.shared.gone.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn accept(shared: &Arc<Shared>, listener: &UnixListener) {
    let mut number = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, _)) => {
                number += 1;
                welcome(shared, stream, number);
            }
            Err(_) if shared.stop.load(Ordering::SeqCst) => {}
            Err(error) => {
                tracing::debug!(%error, "nobody can look on for a moment");
                // Too many open files, most likely: it passes.
                std::thread::sleep(LOOK);
            }
        }
    }
}

/// Gives a client a thread of its own, if there is room.
fn welcome(shared: &Arc<Shared>, stream: UnixStream, number: u64) {
    let limited = stream
        .set_write_timeout(Some(WRITE))
        .and_then(|()| stream.set_read_timeout(Some(REQUEST)));
    let (Ok(()), Ok(copy)) = (limited, stream.try_clone()) else {
        return;
    };
    if !socket::is_ours(&stream) {
        return refuse(&stream, "you are another user");
    }
    {
        let mut state = lock(&shared.state);
        if state.clients.len() >= MOST {
            drop(state);
            return refuse(&stream, "too many are looking on at once; try again");
        }
        state.clients.insert(number, copy);
    }
    let guest = Guest {
        shared: Arc::clone(shared),
        number,
    };
    let named = std::thread::Builder::new().name("beside-one".to_owned());
    let spawned = named.spawn(move || {
        if let Err(error) = serve(&guest.shared, &stream) {
            tracing::debug!(%error, "somebody who looked on was not answered");
        }
        // Before the guest leaves, after which the journal may be closed.
        drop(stream);
    });
    if let Err(error) = spawned {
        tracing::debug!(%error, "no thread for somebody who looks on");
    }
}

/// A short line never fills the buffer of a socket, so that the acceptor is not held up.
fn refuse(mut stream: &UnixStream, why: &str) {
    let _ = protocol::write(&mut stream, &Reply::Refused(why.to_owned()));
}

/// A client; it is gone when this is dropped, also by a panic.
struct Guest {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Guest {
    fn drop(&mut self) {
        lock(&self.shared.state).clients.remove(&self.number);
        self.shared.gone.notify_all();
    }
}

fn serve(shared: &Shared, stream: &UnixStream) -> io::Result<()> {
    let request = match request(stream) {
        Ok(Some(request)) => request,
        // Nobody waits for an answer.
        Ok(None) => return Ok(()),
        Err(error) => {
            refuse(stream, "that is no request");
            return Err(error);
        }
    };
    if request.phoenix != VERSION {
        let known = format!("this is version {VERSION} of the protocol");
        refuse(stream, &known);
        return Ok(());
    }
    let mut out = BufWriter::with_capacity(64 << 10, stream);
    let durable = shared.reader.durable();
    let about = About {
        run: lock(&shared.state).run,
        durable,
        ..shared.about.clone()
    };
    protocol::write(&mut out, &Reply::About(Box::new(about)))?;
    let end = match request.ask {
        Ask::Who => End::Complete,
        Ask::Record => {
            let record = shared.known(durable)?;
            protocol::write(&mut out, &Reply::Record(Box::new(record)))?;
            End::Complete
        }
        Ask::Entries {
            ctid,
            after,
            follow,
        } => match tell(shared, stream, &mut out, (ctid, after, follow))? {
            Some(end) => end,
            None => return Ok(()),
        },
    };
    protocol::write(&mut out, &Reply::End(end))?;
    out.flush()
}

/// Tells events; none: nobody listens any more.
fn tell(
    shared: &Shared,
    stream: &UnixStream,
    out: &mut BufWriter<&UnixStream>,
    (ctid, mut told, follow): (Option<Ctid>, u64, bool),
) -> io::Result<Option<End>> {
    loop {
        let until = shared.reader.durable();
        if until > told {
            let mut tell = |entry| protocol::write(out, &Reply::Entry(Box::new(entry)));
            shared.read((told, until), ctid, &mut tell)?;
            told = until;
            protocol::write(out, &Reply::Upto(told))?;
        }
        if !follow {
            return Ok(Some(End::Complete));
        }
        out.flush()?;
        if shared.stop.load(Ordering::SeqCst) && shared.reader.durable() == told {
            return Ok(Some(End::Over));
        }
        let news = shared.reader.wait_beyond(told, &shared.stop, LOOK);
        // In this order: at the end of the run the server hangs up itself.
        if news == told && hung_up(stream) && !shared.stop.load(Ordering::SeqCst) {
            return Ok(None);
        }
    }
}

/// Reads the request. Its time is limited as a whole: a client that sends a byte now and then
/// has no more of it.
fn request(stream: &UnixStream) -> io::Result<Option<Request>> {
    let began = Instant::now();
    let mut from = BufReader::with_capacity(MAX_REQUEST, stream);
    let mut line = Vec::new();
    loop {
        let left = REQUEST.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let piece = from.fill_buf()?;
        let end = piece.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(piece.len(), |end| end + 1);
        line.extend_from_slice(&piece[..taken]);
        let over = taken == 0 || end.is_some() || line.len() >= MAX_REQUEST;
        from.consume(taken);
        if over {
            return protocol::read(&mut &line[..], MAX_REQUEST);
        }
    }
}

/// Whether nobody reads any more. A client that follows has nothing more to send.
fn hung_up(stream: &UnixStream) -> bool {
    let mut watched = [PollFd::new(stream, PollFlags::IN | PollFlags::RDHUP)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let found = poll(&mut watched, Some(&at_once));
    found.is_ok()
        && watched[0]
            .revents()
            .intersects(PollFlags::RDHUP | PollFlags::HUP)
}

impl Shared {
    fn read(
        &self,
        range: (u64, u64),
        ctid: Option<Ctid>,
        tell: &mut dyn FnMut(Entry) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut tell = |entry| tell(entry).map_err(Trouble::Client);
        self.reader
            .read(range, ctid, &mut tell)
            .map_err(|trouble| match trouble {
                Trouble::Client(error) => error,
                Trouble::Journal(error) => io::Error::other(error),
            })
    }

    /// What is known up to an event, or a later one.
    fn known(&self, durable: u64) -> io::Result<Record> {
        let mut record = lock(&self.record);
        let from = record.last_seq;
        if from < durable {
            let mut next = Record::clone(&record);
            let mut fold = |entry| next.fold(&entry).map_err(io::Error::other);
            self.read((from, durable), None, &mut fold)?;
            *record = Arc::new(next);
        }
        Ok(Record::clone(&record))
    }
}

enum Trouble {
    Client(io::Error),
    Journal(JournalError),
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}
