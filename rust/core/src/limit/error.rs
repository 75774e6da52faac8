//! Why a table could not be opened.

use std::path::PathBuf;
use std::{fmt, io};

/// Why a limit table's file was not opened. Nothing was counted and the file is as it was.
#[derive(Debug)]
pub enum OpenError {
    /// The system refused an operation.
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done, as in "cannot {action}".
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another instance, or what is left of one, has the file open.
    Locked(PathBuf),
    /// The file has no owner that could be joined.
    NotOpen(PathBuf),
    /// As many processes as can share a table do so already.
    Crowded(PathBuf),
    /// Other users of the machine could change the file, or another user owns it.
    Exposed(PathBuf),
    /// The file was written by a release with another layout.
    Version {
        /// The file.
        path: PathBuf,
        /// The layout it has.
        found: u64,
    },
    /// The file is not what this code left behind.
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl OpenError {
    /// What the person who reads the error can do about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Io { .. } => {
                "check that the folder exists, belongs to this user, and has space left"
            }
            Self::Locked(_) => {
                "stop the other instance and its workers, or give this one a file of its own"
            }
            Self::NotOpen(_) => "start the instance that owns the file first",
            Self::Crowded(_) => "run at most 8 processes on one file",
            Self::Exposed(_) => "make the file belong to this user, with mode 0600",
            Self::Version { .. } | Self::Corrupt { .. } => {
                "limits cannot be read from it: `interlock state reset` starts afresh, which forgets what was used"
            }
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io {
                path,
                action,
                source,
            } => write!(f, "cannot {action} `{}`: {source}", path.display()),
            Self::Locked(path) => write!(f, "`{}` is in use by another instance", path.display()),
            Self::NotOpen(path) => write!(f, "no running instance has `{}` open", path.display()),
            Self::Crowded(path) => {
                write!(f, "`{}` is already shared by 8 processes", path.display())
            }
            Self::Exposed(path) => write!(f, "`{}` can be changed by other users", path.display()),
            Self::Version { path, found } => {
                write!(
                    f,
                    "`{}` has layout {found}, this release reads another",
                    path.display()
                )
            }
            Self::Corrupt { path, what } => write!(f, "`{}` is damaged: {what}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
