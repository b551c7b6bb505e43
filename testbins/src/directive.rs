//! The `//#` lines at the top of a program; the crate docs have their grammar.
//!
//! An unknown directive is an error, so that a typing mistake cannot silently drop a variant.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Expectation, Post, Unbuilt};

/// Where the programs are.
pub fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

/// How one program is built.
#[derive(Debug, Default)]
pub struct Recipe {
    /// `<family>/<name>`.
    pub program: String,
    /// Names of pkg-config packages.
    pub packages: Vec<String>,
    /// Further C files of the family.
    pub with: Vec<String>,
    /// What a tracer must find, unprefixed.
    pub expect: Vec<Expectation>,
    variants: Vec<Variant>,
    posts: Vec<(String, Post)>,
}

/// One way to compile and link a program.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The name without any post step.
    pub name: String,
    /// `gcc`, or what understands the same flags.
    pub compiler: String,
    /// For the compiler, after the sources.
    pub flags: Vec<String>,
    /// Set where the library's symbols are renamed.
    pub prefix: Option<Prefix>,
}

/// A renaming of the library's symbols.
#[derive(Clone, Debug)]
pub struct Prefix {
    /// What goes before each name.
    pub text: String,
    /// Whether the renamed archives become a shared library.
    pub shared: bool,
}

impl Recipe {
    /// Reads the directives of a program.
    pub fn load(program: &str) -> Result<Self, Unbuilt> {
        let path = source_root().join(format!("{program}.c"));
        let source = fs::read_to_string(&path)
            .map_err(|error| Unbuilt::failed(format!("no program {program}"), error))?;
        let recipe = Self {
            program: program.to_owned(),
            ..Self::default()
        };
        recipe
            .parse(&source)
            .map_err(|line| Unbuilt::failed(format!("bad directive in {}", path.display()), line))
    }

    /// The folder name of the program.
    pub fn family(&self) -> &str {
        self.program
            .split_once('/')
            .map_or("", |(family, _)| family)
    }

    /// The file name of the program, without its ending.
    pub fn name(&self) -> &str {
        self.program
            .split_once('/')
            .map_or(&self.program, |(_, name)| name)
    }

    /// The variant of this name, post steps not counted.
    pub fn variant(&self, name: &str) -> Result<&Variant, Unbuilt> {
        let found = self.variants.iter().find(|variant| variant.name == name);
        found.ok_or_else(|| Unbuilt::failed(format!("no variant of {}", self.program), name))
    }

    /// The post step of this name, if the program lists it for the variant.
    pub fn post(&self, variant: &str, step: &str) -> Result<Post, Unbuilt> {
        let mut posts = self.posts.iter().filter(|(base, _)| base == variant);
        let found = posts
            .find(|(_, post)| post.name() == step)
            .map(|(_, post)| *post);
        found.ok_or_else(|| {
            Unbuilt::failed(
                format!("no variant of {}", self.program),
                format!("{variant}.{step}"),
            )
        })
    }

    /// All variants, each followed by those made from it.
    pub fn variant_names(&self) -> impl Iterator<Item = String> {
        self.variants.iter().flat_map(|variant| {
            let name = &variant.name;
            let posts = self.posts.iter().filter(move |(base, _)| base == name);
            let derived = posts.map(move |(_, post)| format!("{name}.{}", post.name()));
            std::iter::once(name.clone()).chain(derived)
        })
    }

    /// Fails with the line that it does not understand.
    fn parse(mut self, source: &str) -> Result<Self, String> {
        for line in source.lines() {
            let Some(directive) = line.strip_prefix("//#") else {
                continue;
            };
            let (key, rest) = directive.split_once(':').ok_or(line)?;
            let words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
            self.add(key, &words).ok_or(line)?;
        }
        Ok(self)
    }

    fn add(&mut self, key: &str, words: &[String]) -> Option<()> {
        let (first, rest) = words.split_first()?;
        match key {
            "Expect" => self.expect.push(Expectation {
                library: first.clone(),
                functions: rest.to_vec(),
            }),
            "Needs" if first == "pkg-config" && !rest.is_empty() => {
                self.packages.extend_from_slice(rest)
            }
            "Post" => {
                self.variants
                    .iter()
                    .find(|variant| variant.name == *first)?;
                for step in rest {
                    self.posts.push((first.clone(), Post::from_name(step)?));
                }
            }
            "Prefix" => self.set_prefix(first, rest, false)?,
            "PrefixShared" => self.set_prefix(first, rest, true)?,
            "Variant" => self.variants.push(Variant {
                name: first.clone(),
                compiler: "gcc".to_owned(),
                flags: rest.to_vec(),
                prefix: None,
            }),
            "With" => self.with.extend_from_slice(words),
            _ => return None,
        }
        Some(())
    }

    fn set_prefix(&mut self, name: &str, words: &[String], shared: bool) -> Option<()> {
        let [text] = words else { return None };
        let variant = self
            .variants
            .iter_mut()
            .find(|variant| variant.name == name)?;
        variant.prefix = Some(Prefix {
            text: text.clone(),
            shared,
        });
        Some(())
    }
}

/// Every file with at least one `//#Variant:` is a program.
pub fn programs() -> Result<Vec<String>, Unbuilt> {
    let mut programs = Vec::new();
    for family in entries(&source_root())? {
        for file in entries(&family)? {
            if let Some(program) = program_name(&file) {
                programs.push(program);
            }
        }
    }
    Ok(programs)
}

/// The files and folders in a folder, sorted.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>, Unbuilt> {
    let list = || -> std::io::Result<BTreeSet<PathBuf>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    let sorted = list().map_err(|error| Unbuilt::failed(folder.display(), error))?;
    Ok(sorted.into_iter().collect())
}

fn program_name(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?.strip_suffix(".c")?;
    let family = file.parent()?.file_name()?.to_str()?;
    let source = fs::read_to_string(file).ok()?;
    let is_program = source.lines().any(|line| line.starts_with("//#Variant:"));
    is_program.then(|| format!("{family}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(source: &str) -> Result<Recipe, String> {
        Recipe::default().parse(source)
    }

    /// Post steps would be listed for the wrong variant.
    #[test]
    fn posts_follow_their_variant() {
        let source = "//#Variant: a -O0\n//#Variant: b -O2\n//#Post: a strip debuglink\n";
        let names = parse(source).map(|recipe| recipe.variant_names().collect::<Vec<_>>());
        let wanted = ["a", "a.strip", "a.debuglink", "b"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(names, Ok(wanted));
    }

    /// A misspelt directive would silently lose a variant.
    #[test]
    fn refuses_what_it_does_not_know() {
        for line in [
            "//#Varaint: a",
            "//#Post: a strip",
            "//#Needs: luck",
            "//#With:",
        ] {
            assert_eq!(parse(line).err().as_deref(), Some(line));
        }
    }
}
