//! Compiles and links one variant of a program. The result is the twin of all that the
//! post steps make of it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::directive::{Prefix, Recipe, Variant, entries, source_root};
use crate::{Expectation, Testbin, Unbuilt, cache, prefix, tool};

/// For every program; a variant's own flags come later and win.
const FLAGS: &[&str] = &[
    "-std=gnu17",
    "-D_GNU_SOURCE",
    "-Wall",
    "-Wextra",
    "-g",
    "-pthread",
];

/// Builds a variant without any post step.
pub fn build(recipe: &Recipe, variant: &Variant) -> Result<Testbin, Unbuilt> {
    let inputs = Inputs::gather(recipe, variant)?;
    let label = format!("{}.{}", recipe.program, variant.name);
    let folder = cache::folder(&label, &inputs, |folder| {
        inputs.link(recipe, variant, folder)
    })?;
    let path = folder.join(recipe.name());
    let shared = variant.prefix.as_ref().is_some_and(|prefix| prefix.shared);
    Ok(Testbin {
        program: recipe.program.clone(),
        variant: variant.name.clone(),
        twin: path.clone(),
        path,
        debug_root: None,
        library: shared.then(|| folder.join(prefix::SHARED_LIBRARY)),
        expect: expectations(&recipe.expect, variant.prefix.as_ref()),
    })
}

fn expectations(plain: &[Expectation], prefix: Option<&Prefix>) -> Vec<Expectation> {
    let mut expect = plain.to_vec();
    for name in expect
        .iter_mut()
        .flat_map(|expectation| &mut expectation.functions)
    {
        if let Some(prefix) = prefix {
            name.insert_str(0, &prefix.text);
        }
    }
    expect
}

/// Everything the linked file depends on.
#[derive(Hash)]
struct Inputs {
    compiler: Vec<u8>,
    flags: Vec<String>,
    prefix: Option<(String, bool)>,
    /// Relative to the source root, with their content: headers count as well.
    sources: Vec<(PathBuf, Vec<u8>)>,
    /// As found by gcc, with size and date, for an upgrade of a static library.
    libraries: Vec<(PathBuf, String)>,
    packages: Vec<String>,
}

impl Inputs {
    fn gather(recipe: &Recipe, variant: &Variant) -> Result<Self, Unbuilt> {
        let mut flags: Vec<String> = FLAGS.iter().map(|&flag| flag.to_owned()).collect();
        let mut packages = Vec::new();
        for package in &recipe.packages {
            packages.push(tool::pkg_config("--modversion", package)?);
            let cflags = tool::pkg_config("--cflags", package)?;
            flags.extend(cflags.split_whitespace().map(str::to_owned));
        }
        flags.extend_from_slice(&variant.flags);
        Ok(Self {
            compiler: tool::run(&variant.compiler, Path::new("/"), ["--version"])?,
            libraries: libraries(&flags)?,
            flags,
            prefix: variant
                .prefix
                .as_ref()
                .map(|prefix| (prefix.text.clone(), prefix.shared)),
            sources: sources(recipe.family())?,
            packages,
        })
    }

    /// Fills the folder: the program under its own name, and a shared library if there is one.
    fn link(&self, recipe: &Recipe, variant: &Variant, folder: &Path) -> Result<(), Unbuilt> {
        let objects = tempfile::tempdir()
            .map_err(|error| Unbuilt::failed("failed to make a temporary folder", error))?;
        self.compile(recipe, &variant.compiler, objects.path())?;
        let output = path_text(&folder.join(recipe.name()));
        let mut arguments = vec!["-Wl,--build-id".to_owned(), "-o".to_owned(), output];
        arguments.extend(entries(objects.path())?.iter().map(|path| path_text(path)));
        match &variant.prefix {
            Some(prefix) => {
                let flags = self.flags.iter().cloned();
                let (archives, others): (Vec<_>, Vec<_>) = flags.partition(|flag| is_archive(flag));
                arguments.extend(others);
                arguments.extend(prefix::rename(prefix, &archives, objects.path(), folder)?);
            }
            None => arguments.extend_from_slice(&self.flags),
        }
        tool::run(&variant.compiler, &source_root(), arguments).map(drop)
    }

    fn compile(&self, recipe: &Recipe, compiler: &str, objects: &Path) -> Result<(), Unbuilt> {
        for source in self.compiled_sources(recipe) {
            let object = objects.join(source.replace('/', "-")).with_extension("o");
            let mut arguments = vec!["-c".to_owned(), source, "-o".to_owned(), path_text(&object)];
            let is_library = |flag: &str| flag.starts_with("-l") || flag.ends_with(".a");
            let flags = self.flags.iter().filter(|flag| !is_library(flag));
            arguments.extend(flags.cloned());
            tool::run(compiler, &source_root(), arguments)?;
        }
        Ok(())
    }

    fn compiled_sources(&self, recipe: &Recipe) -> Vec<String> {
        let family = recipe.family();
        let with = recipe.with.iter().map(|file| format!("{family}/{file}"));
        let common = self.sources.iter().map(|(path, _)| path_text(path));
        let common = common.filter(|path| path.starts_with("common/") && path.ends_with(".c"));
        with.chain(common)
            .chain([format!("{}.c", recipe.program)])
            .collect()
    }
}

fn is_archive(flag: &str) -> bool {
    flag.starts_with("-l:") && flag.ends_with(".a")
}

fn sources(family: &str) -> Result<Vec<(PathBuf, Vec<u8>)>, Unbuilt> {
    let root = source_root();
    let mut sources = Vec::new();
    for folder in ["common", family] {
        for path in entries(&root.join(folder))? {
            let content = fs::read(&path)
                .map_err(|error| Unbuilt::failed(format!("failed to read {path:?}"), error))?;
            sources.push((
                path.strip_prefix(&root).unwrap_or(&path).to_owned(),
                content,
            ));
        }
    }
    Ok(sources)
}

fn libraries(flags: &[String]) -> Result<Vec<(PathBuf, String)>, Unbuilt> {
    let is_static = flags
        .iter()
        .any(|flag| flag == "-static" || flag == "-static-pie");
    let named = flags.iter().filter_map(|flag| flag.strip_prefix("-l:"));
    let mut libraries = Vec::new();
    for file in named.chain(is_static.then_some("libc.a")) {
        let path = tool::library_path(file)?;
        let stamp = fs::metadata(&path).and_then(|data| Ok((data.len(), data.modified()?)));
        libraries.push((path, format!("{stamp:?}")));
    }
    Ok(libraries)
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
