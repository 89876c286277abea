//! Private files, atomic writes, and the identity of files.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Restricts the mode of created files to the owner.
#[cfg(unix)]
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600)
}

/// On Windows, new files inherit the folder's access list, which in a user's profile is the
/// user's own.
#[cfg(not(unix))]
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Changes the owner of `file` to that of `other`, if root created it for another user.
#[cfg(unix)]
pub(crate) fn belong_with(file: &fs::File, other: &Path) {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    if let Ok(other) = fs::metadata(other) {
        // Only root may, and only root needs to.
        let _ = fchown(file, Some(other.uid()), Some(other.gid()));
    }
}

/// On Windows, the folder's access list applies.
#[cfg(not(unix))]
pub(crate) fn belong_with(_file: &fs::File, _other: &Path) {}

/// Whether Windows reads `name` as a device, whatever its extension. Checked on all systems, as
/// folders are copied between them.
pub(crate) fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered = || {
        let digit = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
        digit.is_some_and(|digit| matches!(digit.as_bytes(), [b'0'..=b'9']))
    };
    matches!(&*stem, "con" | "prn" | "aux" | "nul") || numbered()
}

/// Whether standard error is a file.
pub(crate) fn stderr_is_file() -> bool {
    #[cfg(unix)]
    let stderr = std::os::fd::AsFd::as_fd(&io::stderr()).try_clone_to_owned();
    #[cfg(windows)]
    let stderr = std::os::windows::io::AsHandle::as_handle(&io::stderr()).try_clone_to_owned();
    let metadata = stderr.and_then(|stderr| fs::File::from(stderr).metadata());
    metadata.is_ok_and(|metadata| metadata.is_file())
}

/// Creates a folder and its parents with mode 0700.
#[cfg(unix)]
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Atomically replaces the content of `path`: readers see the old or the new content, even
/// after a crash. `options` set the mode. If several processes write the file, the caller holds
/// a lock.
///
/// # Errors
/// Errors of the file system. The old content is unchanged, unless only the last step failed,
/// which makes the change durable.
pub(crate) fn replace(path: &Path, content: &[u8], options: &mut OpenOptions) -> io::Result<()> {
    Draft::write(path, "new", content, options)?.take_place_of(path)
}

/// As [`replace`]; the owner and the permissions stay those of the existing file.
///
/// # Errors
/// As [`replace`], or if there is no file.
pub(crate) fn replace_in_kind(path: &Path, content: &[u8]) -> io::Result<()> {
    let permissions = fs::metadata(path)?.permissions();
    let draft = Draft::write(path, "new", content, private(&mut OpenOptions::new()))?;
    belong_with(&fs::File::open(&draft.0)?, path);
    fs::set_permissions(&draft.0, permissions)?;
    draft.take_place_of(path)
}

/// Creates `path` with the guarantees of [`replace`].
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if it exists, also if another process created it meanwhile;
/// else as [`replace`].
pub(crate) fn create(path: &Path, content: &[u8], options: &mut OpenOptions) -> io::Result<()> {
    // Without a lock, concurrent callers need temporary files of their own.
    static DRAFTS: AtomicUsize = AtomicUsize::new(0);
    let draft = format!("{}-{}.new", process::id(), DRAFTS.fetch_add(1, Ordering::Relaxed));
    let draft = Draft::write(path, &draft, content, options)?;
    fs::hard_link(&draft.0, path)?;
    sync_folder_of(path)
}

/// A temporary file; removed when dropped.
struct Draft(PathBuf);

impl Draft {
    fn write(
        path: &Path,
        suffix: &str,
        content: &[u8],
        options: &mut OpenOptions,
    ) -> io::Result<Self> {
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
        name.push(".");
        name.push(suffix);
        let draft = Self(path.with_file_name(name));
        // It may be left over from a process that was killed.
        let _ = fs::remove_file(&draft.0);
        let mut file = options.write(true).create_new(true).open(&draft.0)?;
        file.write_all(content)?;
        file.sync_all()?;
        Ok(draft)
    }

    fn take_place_of(&self, path: &Path) -> io::Result<()> {
        fs::rename(&self.0, path)?;
        sync_folder_of(path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a rename it does not exist.
        let _ = fs::remove_file(&self.0);
    }
}

/// Syncs the folder, which contains the name.
#[cfg(unix)]
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// On Windows a folder cannot be opened; the file system syncs it.
#[cfg(not(unix))]
fn sync_folder_of(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Fills `into` from `offset`.
#[cfg(unix)]
pub(crate) fn read_at(file: &fs::File, into: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, offset)
}

/// Reads of files are not short.
#[cfg(windows)]
pub(crate) fn read_at(file: &fs::File, into: &mut [u8], offset: u64) -> io::Result<()> {
    match std::os::windows::fs::FileExt::seek_read(file, into, offset)? {
        read if read == into.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Writes `bytes` at `offset`.
#[cfg(unix)]
pub(crate) fn write_at(file: &fs::File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Writes of a few bytes to a file are complete.
#[cfg(windows)]
pub(crate) fn write_at(file: &fs::File, bytes: &[u8], offset: u64) -> io::Result<()> {
    match std::os::windows::fs::FileExt::seek_write(file, bytes, offset)? {
        written if written == bytes.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Why no file can be created in `folder`, or in its first existing parent; `None` if one can.
/// Changes nothing.
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

/// Whether this process may write to `path`.
#[cfg(unix)]
pub(crate) fn may_write(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?)
}

/// On Windows, access lists are not evaluated: only the read-only attribute is checked, which
/// means nothing for folders.
#[cfg(not(unix))]
pub(crate) fn may_write(path: &Path) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    match metadata.is_file() && metadata.permissions().readonly() {
        true => Err(io::ErrorKind::PermissionDenied.into()),
        false => Ok(()),
    }
}

/// Free space below which a database cannot be opened, in bytes: its shared index alone has half.
#[cfg(unix)]
const LITTLE_ROOM: u64 = 64 << 10;

/// Whether the disk that `path` is on, or would be, has no room left for this user.
#[cfg(unix)]
pub(crate) fn is_full(path: &Path) -> bool {
    let disk = path.ancestors().find_map(|place| rustix::fs::statvfs(place).ok());
    disk.is_some_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < LITTLE_ROOM)
}

/// On Windows, the error of whatever cannot be written has to do.
#[cfg(not(unix))]
pub(crate) fn is_full(_path: &Path) -> bool {
    false
}

/// Identity of a file, to notice that another one has taken its name.
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

    /// The identity and the length in bytes.
    pub(crate) fn and_len(path: &Path) -> Option<(Self, u64)> {
        use std::os::unix::fs::MetadataExt as _;
        #[cfg(target_os = "linux")]
        if let Some(found) = Self::alone(path) {
            return Some(found);
        }
        let metadata = fs::metadata(path).ok()?;
        Some((Self { device: metadata.dev(), inode: metadata.ino() }, metadata.len()))
    }

    /// Without the file's times: querying those makes the next write more expensive, as its
    /// timestamp then has to differ (multigrain timestamps, since Linux 6.13).
    #[cfg(target_os = "linux")]
    fn alone(path: &Path) -> Option<(Self, u64)> {
        use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
        let wanted = StatxFlags::INO | StatxFlags::SIZE;
        let found = statx(CWD, path, AtFlags::empty(), wanted).ok()?;
        let device = makedev(found.stx_dev_major, found.stx_dev_minor);
        Some((Self { device, inode: found.stx_ino }, found.stx_size))
    }
}

/// On Windows an open database cannot be removed or replaced (SQLite opens it without
/// `FILE_SHARE_DELETE`), so existence is sufficient.
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

/// Describes who else may access `path`; `None` if it is private.
pub(crate) fn exposure(path: &Path) -> Option<String> {
    let mode = mode(path).filter(|mode| mode & 0o077 != 0)?;
    Some(format!("mode is {mode:o}, should be 600"))
}

/// The permission bits, if the system has them.
#[cfg(unix)]
pub(crate) fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(fs::metadata(path).ok()?.permissions().mode() & 0o777)
}

/// On Windows files inherit the folder's access list, in a user's profile the user's own.
#[cfg(not(unix))]
pub(crate) fn mode(_path: &Path) -> Option<u32> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept.json");
        replace(&path, b"one", private(&mut OpenOptions::new())).unwrap();
        replace(&path, b"two", private(&mut OpenOptions::new())).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"two".to_vec(), Some(0o600)));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // Who cannot write beside it changes nothing.
        let lost = folder.path().join("not/there");
        assert!(replace(&lost, b"three", &mut OpenOptions::new()).is_err());
    }

    #[test]
    fn existing_file_is_not_created_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        create(&path, b"one", private(&mut OpenOptions::new())).unwrap();
        let error = create(&path, b"two", private(&mut OpenOptions::new())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn replaced_file_is_detected() {
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
