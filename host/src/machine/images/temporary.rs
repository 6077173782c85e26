//! A file that gets its name when it is whole.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;

/// A new file in a directory. It goes when it is dropped, or when the process ends, unless it was published.
pub(super) struct Temporary<'a> {
    directory: &'a File,
    name: &'a OsStr,
    file: File,
    /// Where the file system has no files without a name.
    named: Option<OsString>,
}

/// The name that a file has while it is made, where it must have one.
pub(super) fn name(name: &OsStr) -> OsString {
    super::hidden(name, ".part")
}

impl<'a> Temporary<'a> {
    /// A file for reading and writing, for root alone, that will have a name.
    pub(super) fn new(directory: &'a File, name: &'a OsStr) -> io::Result<Temporary<'a>> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        match openat(directory, ".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => Ok(Temporary {
                directory,
                name,
                file: file.into(),
                named: None,
            }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                Temporary::with_name(directory, name)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn with_name(directory: &'a File, name: &'a OsStr) -> io::Result<Temporary<'a>> {
        let named = self::name(name);
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL;
        let file = openat(directory, &named, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Temporary {
            directory,
            name,
            file: file.into(),
            named: Some(named),
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Brings it to the disk, with its name, which nobody may have. If that fails it has none.
    pub(super) fn publish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        match self.named.take() {
            None => {
                let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                linkat(
                    CWD,
                    path,
                    self.directory,
                    self.name,
                    AtFlags::SYMLINK_FOLLOW,
                )?;
            }
            Some(named) => {
                let moved = renameat_with(
                    self.directory,
                    &named,
                    self.directory,
                    self.name,
                    RenameFlags::NOREPLACE,
                );
                if moved.is_err() {
                    self.named = Some(named);
                }
                moved?;
            }
        }
        // The file again: some file systems write the count of its names only so.
        let durable = self
            .file
            .sync_all()
            .and_then(|()| self.directory.sync_all());
        if durable.is_err() {
            let _ = unlinkat(self.directory, self.name, AtFlags::empty());
        }
        durable
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(named) = &self.named {
            let _ = unlinkat(self.directory, named, AtFlags::empty());
        }
    }
}
