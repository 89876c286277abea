//! Files that are nobody else's, and what tells one from another.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

/// Makes what is opened readable and writable for its owner only.
#[cfg(unix)]
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600)
}

/// Elsewhere new files inherit the folder's access list, which in a user's
/// profile is the user's own.
#[cfg(not(unix))]
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Makes a folder, and those above it, for the owner only.
#[cfg(unix)]
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Why no file can be made in `folder`, or in the one that it would be made in;
/// `None` where one can. Nothing is changed.
pub(crate) fn unwritable(folder: &Path) -> Option<io::Error> {
    for place in folder.ancestors() {
        match fs::metadata(place) {
            Ok(found) if found.is_dir() => return may_write(place).err(),
            Ok(_) => return Some(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Some(error),
            Err(_) => {}
        }
    }
    None
}

/// Whether this process may write `path`.
#[cfg(unix)]
pub(crate) fn may_write(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?)
}

/// Elsewhere who may write is in access lists; only the attribute is looked at,
/// which says nothing of a folder.
#[cfg(not(unix))]
pub(crate) fn may_write(path: &Path) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    match metadata.is_file() && metadata.permissions().readonly() {
        true => Err(io::ErrorKind::PermissionDenied.into()),
        false => Ok(()),
    }
}

/// Tells a file from another that took its name.
#[cfg(unix)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

#[cfg(unix)]
impl FileId {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        Self::and_len(path).map(|(id, _)| id)
    }

    /// The same, and how many bytes the file has.
    pub(crate) fn and_len(path: &Path) -> Option<(Self, u64)> {
        use std::os::unix::fs::MetadataExt as _;
        #[cfg(target_os = "linux")]
        if let Some(found) = Self::alone(path) {
            return Some(found);
        }
        let metadata = fs::metadata(path).ok()?;
        Some((Self { device: metadata.dev(), inode: metadata.ino() }, metadata.len()))
    }

    /// Without the file's times: who asks for those makes the next write to it dearer,
    /// because its time then has to differ (multigrain timestamps, since Linux 6.13).
    #[cfg(target_os = "linux")]
    fn alone(path: &Path) -> Option<(Self, u64)> {
        use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
        let wanted = StatxFlags::INO | StatxFlags::SIZE;
        let found = statx(CWD, path, AtFlags::empty(), wanted).ok()?;
        let device = makedev(found.stx_dev_major, found.stx_dev_minor);
        Some((Self { device, inode: found.stx_ino }, found.stx_size))
    }
}

/// Elsewhere an open database cannot be removed or replaced (on Windows SQLite
/// opens without `FILE_SHARE_DELETE`), so being there is identity enough.
#[cfg(not(unix))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId;

#[cfg(not(unix))]
impl FileId {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        Self::and_len(path).map(|(id, _)| id)
    }

    pub(crate) fn and_len(path: &Path) -> Option<(Self, u64)> {
        fs::metadata(path).ok().map(|found| (Self, found.len()))
    }
}

/// What is wrong with who may read `path`, in words; `None` where it is private.
pub(crate) fn exposure(path: &Path) -> Option<String> {
    let mode = mode(path).filter(|mode| mode & 0o077 != 0)?;
    Some(format!("mode is {mode:o}, should be 600"))
}

/// The permission bits, where the system has such.
#[cfg(unix)]
pub(crate) fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(fs::metadata(path).ok()?.permissions().mode() & 0o777)
}

/// Elsewhere files inherit the folder's access list, in a user's profile the
/// user's own.
#[cfg(not(unix))]
pub(crate) fn mode(_path: &Path) -> Option<u32> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_from_the_one_that_took_its_name() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (one, link) = (folder.path().join("one"), folder.path().join("link"));
        fs::write(&one, "").unwrap();
        let id = FileId::of(&one).unwrap();
        let metadata = fs::metadata(&one).unwrap();
        assert_eq!((id.device, id.inode), (metadata.dev(), metadata.ino()));
        fs::write(&one, "12345").unwrap();
        assert_eq!(FileId::and_len(&one), Some((id, 5)));
        fs::hard_link(&one, &link).unwrap();
        assert_eq!(FileId::of(&link), Some(id));
        fs::remove_file(&one).unwrap();
        assert_eq!(FileId::of(&one), None);
        fs::write(&one, "").unwrap();
        assert_ne!(FileId::of(&one), Some(id));
    }
}
