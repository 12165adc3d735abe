//! What the work on one container needs.

use std::ffi::OsStr;
use std::fs::File;

use super::super::HostError;
use super::super::process::{Job, PATH};
use super::failure::permanent;
use super::guest::{Dialect, Guest};
use super::images;
use super::layout::Layout;
use super::lock::Held;
use super::observe::{self, Instance};
use crate::domain::ids::Ctid;
use crate::domain::refusal::Refusal;

/// The work on one container, whose lock is held.
pub(super) struct Work<'a> {
    pub(super) dialect: &'a Dialect,
    pub(super) ctid: Ctid,
    pub(super) held: &'a Held,
}

impl<'a> Work<'a> {
    pub(super) fn layout(&self) -> &'a Layout {
        &self.dialect.layout
    }

    /// What tools read: the lock, so that it is held while they run.
    pub(super) fn lock(&self) -> &'a File {
        self.held.file()
    }

    /// One of LXC's tools on this container.
    pub(super) fn lxc(&self, tool: &str) -> Job<'a> {
        let job = Job::new([tool, "-P"]).with([&self.layout().dir]);
        job.with(["-n", &self.ctid.to_string()]).stdin(self.lock())
    }

    /// A command inside, with a clean environment. It is not given the lock: what runs in a
    /// container could keep it.
    pub(super) fn inside<S: AsRef<OsStr>>(&self, argv: impl IntoIterator<Item = S>) -> Job<'a> {
        let job = Job::new(["lxc-attach", "-P"]).with([&self.layout().dir]);
        let job = job.with(["-n", &self.ctid.to_string(), "--clear-env"]);
        let job = job.with(["-v", &format!("PATH={PATH}"), "-v", "HOME=/root", "--"]);
        job.with(argv)
    }

    /// The container's configuration.
    pub(super) fn config(&self) -> Result<Guest, HostError> {
        let path = self.layout().config(self.ctid);
        let guest = observe::read(self.dialect, self.ctid, &path)?;
        guest.ok_or_else(|| Refusal::Missing { ctid: self.ctid }.into())
    }

    /// Writes the container's configuration.
    pub(super) fn write(&self, guest: &Guest) -> Result<(), HostError> {
        let text = guest.print(self.dialect, self.ctid);
        images::write(&self.layout().config(self.ctid), &text)
    }

    /// Writes what the running instance has.
    pub(super) fn write_running(&self, guest: &Guest) -> Result<(), HostError> {
        let text = guest.print(self.dialect, self.ctid);
        images::write(&self.layout().running(self.ctid), &text)
    }

    /// The running instance.
    pub(super) fn instance(&self) -> Result<Instance, HostError> {
        let instance = Instance::of(self.dialect, self.ctid)?;
        instance.ok_or_else(|| permanent(format!("container {} does not run", self.ctid)))
    }
}
