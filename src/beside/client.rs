//! The side that asks.

use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::protocol::{self, About, Ask, End, MAX_REPLY, Reply, Request, VERSION};
use super::socket::{self, Place};

/// How long the beginning of an answer, or its next line, is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer though somebody has the journal.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It broke off: the process ended, or was killed, over it.
    #[error("the phoenix that works on this state directory ended while it answered")]
    BrokeOff(#[source] io::Error),
    /// It does not come.
    #[error("the phoenix that works on this state directory does not answer")]
    Silent(#[source] io::Error),
    /// The socket is another user's.
    #[error("the socket in the state directory is served by another user")]
    Foreign,
    /// It was refused.
    #[error("the phoenix that works on this state directory refuses to answer: {0}")]
    Refused(String),
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent(error),
            _ => Self::BrokeOff(error),
        }
    }
}

/// An answer, line by line.
#[derive(Debug)]
pub struct Answer {
    /// Who answers.
    pub about: About,
    lines: BufReader<UnixStream>,
}

impl Answer {
    /// The next line; [`Reply::End`] is the last.
    ///
    /// # Errors
    /// When it breaks off, or does not come.
    pub fn line(&mut self) -> Result<Reply, AskError> {
        next(&mut self.lines)
    }

    /// All lines up to the end, without it.
    ///
    /// # Errors
    /// When it breaks off, or does not come.
    pub fn each(mut self, mut f: impl FnMut(Reply)) -> Result<End, AskError> {
        loop {
            match self.line()? {
                Reply::End(end) => return Ok(end),
                reply => f(reply),
            }
        }
    }

    /// From now on waits for the next line for as long as it takes.
    ///
    /// # Errors
    /// When the socket refuses.
    pub fn patiently(self) -> io::Result<Self> {
        self.lines.get_ref().set_read_timeout(None)?;
        Ok(self)
    }
}

fn next(lines: &mut BufReader<UnixStream>) -> Result<Reply, AskError> {
    match protocol::read(lines, MAX_REPLY)? {
        Some(Reply::Refused(why)) => Err(AskError::Refused(why)),
        Some(reply) => Ok(reply),
        None => Err(AskError::BrokeOff(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// Asks whoever works on a state directory; none: nobody does, as far as one can tell.
///
/// # Errors
/// When somebody does, and does not answer.
pub fn ask(state: &Path, ask: Ask) -> Result<Option<Answer>, AskError> {
    // What is wrong with the directory is told by whoever opens the journal in it.
    let Ok(place) = Place::open(state) else {
        return Ok(None);
    };
    let Some(mut stream) = place.connect()? else {
        return Ok(None);
    };
    if !socket::is_ours(&stream) {
        return Err(AskError::Foreign);
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = Request {
        phoenix: VERSION,
        ask,
    };
    protocol::write(&mut stream, &request)?;
    let mut lines = BufReader::new(stream);
    match next(&mut lines)? {
        Reply::About(about) => Ok(Some(Answer {
            about: *about,
            lines,
        })),
        _ => Err(AskError::Refused("it answers something else".to_owned())),
    }
}
