//! The directories that the file tools may read and write.
//!
//! A path is resolved with all its symlinks first and judged afterwards, so no
//! link leads out. Between judging and opening a file, someone who can write
//! under a root could still swap it for a link; such people should not be able
//! to write there.

use std::io;
use std::path::{Component, Path, PathBuf};

use planfleet_core::failure::FailureClass;

use crate::tool::ToolError;

pub(crate) struct Roots(Vec<PathBuf>);

impl Roots {
    /// `roots` must be canonical.
    pub(crate) fn new(roots: Vec<PathBuf>) -> Self {
        Self(roots)
    }

    /// The canonical form of a path, which is inside a root. A relative path is
    /// looked for in each root, in their order.
    pub(crate) fn resolve(&self, path: &str) -> Result<PathBuf, ToolError> {
        if self.0.is_empty() {
            return Err(ToolError::denied(
                "file tools are off; the operator can name directories for them in tools.roots",
            ));
        }
        let mut fault = Fault::Outside;
        for root in &self.0 {
            match resolve_in(root, path) {
                Ok(found) => return Ok(found),
                Err(Fault::LeadsOut) => return Err(self.explain(path, Fault::LeadsOut)),
                // Being outside one root says less than being missing in another.
                Err(Fault::Outside) => {}
                Err(missing) => fault = missing,
            }
        }
        Err(self.explain(path, fault))
    }

    /// Where a file of that path is or would be, inside a root; what is missing on the way is
    /// to be made. A relative path that is nowhere yet is taken under the first root.
    pub(crate) fn resolve_new(&self, path: &str) -> Result<PathBuf, ToolError> {
        let missing = match self.resolve(path) {
            Err(error) if error.class == FailureClass::ToolError => error,
            resolved => return resolved,
        };
        let mut known = self.0.iter().filter(|root| without_dots(&root.join(path)).starts_with(root));
        let Some(root) = known.next() else { return Err(missing) };
        let wanted = without_dots(&root.join(path));
        // A link that leads nowhere is not a file that is missing: it would be written through.
        if wanted.is_symlink() {
            return Err(self.explain(path, Fault::LeadsOut));
        }
        let there = wanted.ancestors().skip(1).find(|above| above.exists());
        let (Some(there), Some(name)) = (there, wanted.file_name()) else { return Err(missing) };
        match there.canonicalize() {
            Ok(real) if !real.starts_with(root) => Err(self.explain(path, Fault::LeadsOut)),
            Ok(real) if real.is_dir() && !name.as_encoded_bytes().contains(&0) => {
                let rest = wanted.strip_prefix(there).map_err(|_| missing)?;
                Ok(real.join(rest))
            }
            Ok(_) | Err(_) => Err(missing),
        }
    }

    /// A resolved path as [`Self::resolve`] takes it again: relative where that
    /// is not ambiguous, which is under the first root.
    pub(crate) fn display(&self, path: &Path) -> String {
        let relative = self.0.first().and_then(|root| path.strip_prefix(root).ok());
        match relative {
            Some(relative) if relative.as_os_str().is_empty() => ".".to_owned(),
            Some(relative) => relative.display().to_string(),
            None => path.display().to_string(),
        }
    }

    /// What was wrong. Whether something exists outside the roots is not told.
    fn explain(&self, path: &str, fault: Fault) -> ToolError {
        match fault {
            Fault::Outside | Fault::LeadsOut => ToolError::denied(format!(
                "`{path}` is outside the configured directories; use a path relative to one of \
                 the {} in tools.roots, e.g. `notes/a.txt`",
                self.0.len()
            )),
            Fault::Io(error) => ToolError::failed(format!(
                "cannot find `{path}` in the configured directories ({error}); `file_list` shows \
                 what is there"
            )),
        }
    }
}

enum Fault {
    /// By its spelling.
    Outside,
    /// By a symlink.
    LeadsOut,
    Io(io::Error),
}

fn resolve_in(root: &Path, path: &str) -> Result<PathBuf, Fault> {
    let path = root.join(path);
    if !without_dots(&path).starts_with(root) {
        // Symlinks aside it leads out; only an existing file inside excuses it.
        return match path.canonicalize() {
            Ok(found) if found.starts_with(root) => Ok(found),
            _ => Err(Fault::Outside),
        };
    }
    let found = path.canonicalize().map_err(Fault::Io)?;
    if found.starts_with(root) { Ok(found) } else { Err(Fault::LeadsOut) }
}

/// The path with `.` and `..` worked out on paper, without looking at the disk.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    /// Two roots beside a secret:
    /// `a/{note.txt, sub/deep.md, out -> ../secret, in -> note.txt}`, `b/other.txt`.
    pub(crate) fn tree() -> (tempfile::TempDir, Arc<Roots>) {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("a/sub")).unwrap();
        fs::create_dir_all(base.join("b")).unwrap();
        fs::write(base.join("a/note.txt"), "hällo").unwrap();
        fs::write(base.join("a/sub/deep.md"), "deep").unwrap();
        fs::write(base.join("b/other.txt"), "other").unwrap();
        fs::write(base.join("secret"), "secret").unwrap();
        symlink("../secret", base.join("a/out")).unwrap();
        symlink("note.txt", base.join("a/in")).unwrap();
        let roots = Roots::new(vec![base.join("a"), base.join("b")]);
        (dir, Arc::new(roots))
    }

    #[test]
    fn paths_inside_resolve() {
        let (dir, roots) = tree();
        let base = dir.path().canonicalize().unwrap();
        let absolute = base.join("b/other.txt").display().to_string();
        for (path, shown) in [
            ("note.txt", "note.txt"),
            ("./sub/../note.txt", "note.txt"),
            ("in", "note.txt"),
            ("sub", "sub"),
            (".", "."),
            ("other.txt", absolute.as_str()),
            (absolute.as_str(), absolute.as_str()),
        ] {
            assert_eq!(roots.display(&roots.resolve(path).unwrap()), shown, "{path}");
        }
    }

    #[test]
    fn nothing_outside_resolves_or_shows_that_it_exists() {
        let (dir, roots) = tree();
        let secret = dir.path().join("secret").display().to_string();
        for path in [
            "../secret",
            "../no-such-file",
            "sub/../../secret",
            "out",
            "/etc/passwd",
            "/no/such/file",
            "..",
            "/",
            secret.as_str(),
            "../../../../../../../../etc/passwd",
        ] {
            let error = roots.resolve(path).unwrap_err();
            assert_eq!(error.class, FailureClass::Denied, "{path}: {error}");
        }
        // A neighbour whose name starts like a root's.
        fs::create_dir(dir.path().join("ab")).unwrap();
        assert_eq!(roots.resolve("../ab").unwrap_err().class, FailureClass::Denied);
    }

    #[test]
    fn missing_files_and_missing_roots_are_told_apart() {
        let (_dir, roots) = tree();
        for path in ["missing.txt", "note.txt/x", "a\0b"] {
            assert_eq!(roots.resolve(path).unwrap_err().class, FailureClass::ToolError, "{path:?}");
        }
        let error = Roots::new(vec![]).resolve("note.txt").unwrap_err();
        assert!(error.class == FailureClass::Denied && error.message.contains("tools.roots"));
    }
}
