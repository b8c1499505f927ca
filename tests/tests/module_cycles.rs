//! The modules of every crate import each other without cycles.
//!
//! Every file is parsed, and each path that starts with `crate`, `super`, `self` or the name of a child module becomes
//! an edge from the module that holds it to the module that defines the item. Re-exports (`pub use`) are followed to
//! the definition and are no edges themselves, so a `lib.rs` or `mod.rs` that only declares and re-exports is never
//! part of a cycle. Code under `#[cfg(test)]` is left out.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Meta, UseTree, Visibility};

/// The names of a module from the crate's root, which is empty.
type Module = Vec<String>;

/// The modules of one crate, the items that each re-exports, and the paths that each uses.
#[derive(Default)]
struct Crate {
    modules: BTreeSet<Module>,
    /// (module, name) → the path that the name is re-exported from, absolute.
    reexports: BTreeMap<(Module, String), Module>,
    /// (module, absolute path of a used item).
    uses: Vec<(Module, Module)>,
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

/// The file of `mod name;`, declared in `file`.
fn file_of(item: &ItemMod, file: &Path) -> PathBuf {
    let folder = file.parent().unwrap();
    for attribute in item.attrs.iter().filter(|attribute| attribute.path().is_ident("path")) {
        if let Meta::NameValue(path) = &attribute.meta
            && let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(name), .. }) = &path.value
        {
            return folder.join(name.value());
        }
    }
    let stem = file.file_stem().unwrap().to_str().unwrap();
    let folder = if ["lib", "main", "mod"].contains(&stem) { folder.to_owned() } else { folder.join(stem) };
    let beside = folder.join(format!("{}.rs", item.ident));
    if beside.is_file() { beside } else { folder.join(item.ident.to_string()).join("mod.rs") }
}

/// Collects what one file uses.
struct Reader<'a> {
    module: Module,
    children: BTreeSet<String>,
    found: &'a mut Crate,
}

impl Reader<'_> {
    /// The path from the crate's root, where it is one within this crate.
    fn absolute(&self, path: &[String]) -> Option<Module> {
        let mut module = match path.first()?.as_str() {
            "crate" => Module::new(),
            "self" => self.module.clone(),
            "super" => self.module[..self.module.len().checked_sub(1)?].to_vec(),
            name if self.children.contains(name) => self.module.iter().cloned().chain([name.to_owned()]).collect(),
            _ => return None,
        };
        for name in &path[1..] {
            match name.as_str() {
                "super" => drop(module.pop()),
                name => module.push(name.to_owned()),
            }
        }
        Some(module)
    }

    fn use_tree(&mut self, tree: &UseTree, prefix: &[String], reexport: bool) {
        let with = |name: &syn::Ident| prefix.iter().cloned().chain([name.to_string()]).collect::<Module>();
        let (path, name) = match tree {
            UseTree::Path(path) => return self.use_tree(&path.tree, &with(&path.ident), reexport),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.use_tree(tree, prefix, reexport));
            }
            UseTree::Name(name) if name.ident == "self" => (prefix.to_vec(), prefix.last().cloned()),
            UseTree::Name(name) => (with(&name.ident), Some(name.ident.to_string())),
            UseTree::Rename(rename) => (with(&rename.ident), Some(rename.rename.to_string())),
            UseTree::Glob(_) => (prefix.to_vec(), None),
        };
        let Some(absolute) = self.absolute(&path) else { return };
        match name {
            Some(name) if reexport => drop(self.found.reexports.insert((self.module.clone(), name), absolute)),
            _ => self.found.uses.push((self.module.clone(), absolute)),
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.use_tree(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Module = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1
            && let Some(absolute) = self.absolute(&names)
        {
            self.found.uses.push((self.module.clone(), absolute));
        }
        visit::visit_path(self, path);
    }
}

fn read(file: &Path, module: &Module, found: &mut Crate) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    found.modules.insert(module.clone());
    let children: Vec<&ItemMod> = parsed
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Mod(item) if item.content.is_none() && !is_test(&item.attrs) => Some(item),
            _ => None,
        })
        .collect();
    let names = children.iter().map(|child| child.ident.to_string()).collect();
    Reader { module: module.clone(), children: names, found }.visit_file(&parsed);
    for child in children {
        let path = module.iter().cloned().chain([child.ident.to_string()]).collect();
        read(&file_of(child, file), &path, found);
    }
}

impl Crate {
    /// The module that defines the item of a path: the deepest module on the path, or the one that it re-exports from.
    fn definition(&self, path: &[String]) -> Module {
        let depth = (0..=path.len()).rev().find(|depth| self.modules.contains(&path[..*depth])).unwrap();
        let module = path[..depth].to_vec();
        match path.get(depth).and_then(|name| self.reexports.get(&(module.clone(), name.clone()))) {
            // A name that is re-exported from itself would be an error of the compiler.
            Some(source) => self.definition(source),
            None => module,
        }
    }

    fn edges(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let mut edges: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for (module, path) in &self.uses {
            let target = self.definition(path);
            if target != *module {
                edges.entry(module.clone()).or_default().insert(target);
            }
        }
        edges
    }

    /// A path of modules that leads back to its first, if there is one.
    fn cycle(&self) -> Option<Vec<Module>> {
        let edges = self.edges();
        let mut done = BTreeSet::new();
        self.modules.iter().find_map(|module| follow(module, &edges, &mut Vec::new(), &mut done))
    }
}

fn follow(
    module: &Module,
    edges: &BTreeMap<Module, BTreeSet<Module>>,
    path: &mut Vec<Module>,
    done: &mut BTreeSet<Module>,
) -> Option<Vec<Module>> {
    if let Some(start) = path.iter().position(|earlier| earlier == module) {
        return Some(path[start..].to_vec());
    }
    if done.contains(module) {
        return None;
    }
    path.push(module.clone());
    let found = edges.get(module).into_iter().flatten().find_map(|next| follow(next, edges, path, done));
    path.pop();
    done.insert(module.clone());
    found
}

fn name(module: &Module) -> String {
    if module.is_empty() { "crate".into() } else { module.join("::") }
}

#[test]
fn no_crate_has_a_cycle_of_modules() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let packages = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap().packages;
    let mut cycles = Vec::new();
    for package in &packages {
        for target in package.targets.iter().filter(|target| target.is_lib() || target.is_bin()) {
            let mut found = Crate::default();
            read(target.src_path.as_std_path(), &Module::new(), &mut found);
            if let Some(cycle) = found.cycle() {
                let cycle: Vec<String> = cycle.iter().chain(cycle.first()).map(name).collect();
                cycles.push(format!("{}: {}", package.name, cycle.join(" → ")));
            }
        }
    }
    assert!(cycles.is_empty(), "modules import each other in a cycle:\n{}", cycles.join("\n"));
}

/// The two backends of ddpm-ops do not import each other, and only the dispatch imports both.
#[test]
fn the_backends_are_independent() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/ddpm-ops/src/lib.rs");
    let mut found = Crate::default();
    read(Path::new(root), &Module::new(), &mut found);
    for (module, targets) in found.edges() {
        let imports = |backend: &str| targets.iter().any(|target| target.first().is_some_and(|name| name == backend));
        let permitted = match module.first().map_or("crate", String::as_str) {
            "cpu" => !imports("device"),
            "device" => !imports("cpu"),
            "tape" | "ops" | "backend" => !imports("cpu") && !imports("device"),
            "dispatch" => true,
            _ => !(imports("cpu") && imports("device")),
        };
        assert!(permitted, "{} imports {targets:?}", name(&module));
    }
}

/// Parses a crate of these files and formats its cycle as text.
fn cycle_of(files: &[(&str, &str)]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut found = Crate::default();
    read(&folder.path().join("lib.rs"), &Module::new(), &mut found);
    found.cycle().map(|cycle| cycle.iter().map(name).collect::<Vec<_>>().join(" "))
}

#[test]
fn cycles_are_found() {
    let lib = ("lib.rs", "mod a;\nmod b;\npub use a::A;");
    let two = [lib, ("a.rs", "pub struct A(crate::b::B);"), ("b.rs", "use crate::A;\npub struct B;")];
    assert_eq!(cycle_of(&two).unwrap(), "a b");
    let parent = [("lib.rs", "mod a;"), ("a/mod.rs", "mod c;\nfn f() { c::g() }"), ("a/c.rs", "use super::f;")];
    assert_eq!(cycle_of(&parent).unwrap(), "a a::c");
}

#[test]
fn what_is_no_cycle_passes() {
    let lib = ("lib.rs", "mod a;\nmod b;\npub use a::A;\npub use b::B;");
    let one_way = [lib, ("a.rs", "pub struct A;"), ("b.rs", "use crate::{A, B as Own};\npub struct B(A);")];
    assert_eq!(cycle_of(&one_way), None);
    let tests = [
        lib,
        ("a.rs", "pub struct A;\n#[cfg(test)]\nmod tests { use crate::B; }"),
        ("b.rs", "pub struct B(crate::A);"),
    ];
    assert_eq!(cycle_of(&tests), None);
}
