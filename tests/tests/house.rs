//! The rules of the house: imports without circles that point one way, files and functions of a
//! readable length, and the words that names and comments use. `CONTRIBUTING.md` explains them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The packages that users depend on.
const PACKAGES: [&str; 4] = ["core", "adapters", "etcd", "server"];

/// Modules may import modules of their own layer and of the layers after it.
const CORE_LAYERS: [&[&str]; 7] = [
    &[
        "publisher",
        "hub",
        "watcher",
        "batch",
        "reached",
        "builder",
        "dispatcher",
    ],
    &["engine"],
    &["event", "replay"],
    &["registry"],
    &["log"],
    &[
        "change", "selector", "options", "error", "end", "lagged", "stats", "id",
    ],
    &["sync"],
];

/// The same for the etcd API: gRPC on top, then the store that it serves, then etcd's rules, then the
/// data that they are about.
const ETCD_LAYERS: [&[&str]; 4] = [
    &["services"],
    &["store"],
    &["rules"],
    &[
        "error",
        "header",
        "identity",
        "keys",
        "leases",
        "limits",
        "random",
        "record",
        "transaction",
        "wire",
    ],
];

/// Modules that exist only for tests.
const TEST_MODULES: [&str; 2] = ["models", "random"];

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;
/// "whoever" and "whom" are correct English that strangers stumble over.
const MAX_STUMBLING_WORDS: usize = 3;

/// A source file without its comments and its unit tests.
struct Source {
    /// Relative to the repository.
    path: String,
    /// The path of its module, without `crate`.
    module: Vec<String>,
    text: String,
    code: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All hand-written sources below `package/src`.
fn sources(package: &str) -> Vec<Source> {
    let src = repository().join(package).join("src");
    let mut folders = vec![src.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the package has a src folder") {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            if text.starts_with("// This file is @generated") {
                continue;
            }
            let relative = path.strip_prefix(&src).unwrap().with_extension("");
            let module: Vec<String> = relative
                .iter()
                .map(|part| part.to_string_lossy().into_owned())
                .filter(|part| part != "lib" && part != "main" && part != "mod")
                .collect();
            let path = format!("{package}/src/{}.rs", relative.display());
            let code = code_of(&text);
            sources.push(Source {
                path,
                module,
                text,
                code,
            });
        }
    }
    sources.sort_by(|one, two| one.path.cmp(&two.path));
    sources
}

/// The text without comments, and without the unit tests at its end.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut attribute = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("//") {
            continue;
        }
        if line.starts_with("#[cfg(") && line.contains("test") {
            attribute = Some(code.len());
        } else if line.starts_with("mod tests")
            && let Some(start) = attribute
        {
            code.truncate(start);
            break;
        } else {
            attribute = None;
        }
        let line = line.split(" // ").next().unwrap();
        code.push_str(line);
        code.push('\n');
    }
    code
}

/// Every path in the code that starts with `crate::`, `self::` or `super::`, its braces expanded.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            expand(&code[at..], &mut Vec::new(), &mut paths);
        }
    }
    paths
}

/// Expands one use tree at the start of `text`. Returns how many bytes it has.
fn expand(text: &str, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> usize {
    let depth = prefix.len();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let name: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        at += name.len();
        if !name.is_empty() {
            prefix.push(name);
        }
        if text[at..].starts_with("::{") {
            at += 3;
            loop {
                at += text[at..].len() - text[at..].trim_start().len();
                if text[at..].starts_with('}') || text[at..].is_empty() {
                    at += 1;
                    break;
                }
                let length = expand(&text[at..], prefix, paths);
                at += length.max(1);
                let next = text[at..].find([',', '}']).unwrap_or(0);
                at += next;
                if text[at..].starts_with(',') {
                    at += 1;
                }
            }
            break;
        }
        if text[at..].starts_with("::") {
            at += 2;
            continue;
        }
        paths.push(prefix.clone());
        break;
    }
    prefix.truncate(depth);
    at
}

/// The imports between the files of a package: from a file to the files it imports.
fn imports(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let by_module: BTreeMap<&[String], &Source> = sources
        .iter()
        .map(|source| (&source.module[..], source))
        .collect();
    // The names that a file re-exports from its own children, as `lib.rs` does.
    let mut exported: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    for source in sources {
        for (at, _) in source.code.match_indices("use ") {
            let rest = &source.code[at + 4..];
            let mut expanded = Vec::new();
            expand(rest, &mut Vec::new(), &mut expanded);
            for path in expanded {
                let Some((last, parents)) = path.split_last() else {
                    continue;
                };
                let mut child = source.module.clone();
                child.extend_from_slice(parents);
                if !parents.is_empty() && by_module.contains_key(&child[..]) {
                    let mut name = source.module.clone();
                    name.push(last.clone());
                    exported.insert(name, child);
                }
            }
        }
    }
    let mut imports = BTreeMap::new();
    for source in sources {
        let imported: BTreeSet<String> = paths(&source.code)
            .into_iter()
            .filter_map(|path| {
                let absolute = absolute(&path, &source.module)?;
                let target = exported.get(&absolute).unwrap_or(&absolute);
                (0..=target.len())
                    .rev()
                    .find_map(|length| by_module.get(&target[..length]))
                    .map(|target| target.path.clone())
            })
            .filter(|path| *path != source.path)
            .collect();
        imports.insert(source.path.clone(), imported);
    }
    imports
}

/// A path from the root of the crate.
fn absolute(path: &[String], module: &[String]) -> Option<Vec<String>> {
    let mut absolute = match path[0].as_str() {
        "crate" => Vec::new(),
        "self" | "super" => module.to_vec(),
        _ => return None,
    };
    for part in path {
        match part.as_str() {
            "crate" | "self" => {}
            "super" => _ = absolute.pop(),
            name => absolute.push(name.to_owned()),
        }
    }
    Some(absolute)
}

/// A circle of files, if there is one.
fn circle(imports: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit<'a>(
        file: &'a str,
        imports: &'a BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(start) = way.iter().position(|other| *other == file) {
            let mut circle: Vec<String> = way[start..].iter().map(ToString::to_string).collect();
            circle.push(file.to_owned());
            return Some(circle);
        }
        if !done.insert(file) {
            return None;
        }
        way.push(file);
        let found = imports[file]
            .iter()
            .find_map(|next| visit(next, imports, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    imports
        .keys()
        .find_map(|file| visit(file, imports, &mut Vec::new(), &mut done))
}

/// The imports that point to an earlier layer, as lines.
fn against_layers(
    sources: &[Source],
    imports: &BTreeMap<String, BTreeSet<String>>,
    layers: &[&[&str]],
) -> String {
    let layer = |path: &str| {
        let source = sources.iter().find(|source| source.path == path).unwrap();
        let top = source.module.first()?;
        if TEST_MODULES.contains(&top.as_str()) {
            return None;
        }
        let layer = layers
            .iter()
            .position(|layer| layer.contains(&top.as_str()));
        Some(layer.unwrap_or_else(|| panic!("{path}: module `{top}` has no layer")))
    };
    let mut wrong = String::new();
    for (file, imported) in imports {
        let Some(own) = layer(file) else { continue };
        for other in imported {
            if layer(other).is_some_and(|other| other < own) {
                writeln!(wrong, "{file} imports {other}").unwrap();
            }
        }
    }
    wrong
}

#[test]
fn no_circle_of_files() {
    for package in PACKAGES {
        let imports = imports(&sources(package));
        if let Some(circle) = circle(&imports) {
            panic!("a circle of files: {}", circle.join(" -> "));
        }
    }
}

#[test]
fn imports_follow_the_layers() {
    for (package, layers) in [("core", &CORE_LAYERS[..]), ("etcd", &ETCD_LAYERS)] {
        let sources = sources(package);
        let wrong = against_layers(&sources, &imports(&sources), layers);
        assert!(wrong.is_empty(), "against the layers:\n{wrong}");
    }
}

/// The check itself: a circle through a re-export, a brace and a `super` is found.
#[test]
fn circles_are_found_through_every_form_of_path() {
    let source = |path: &str, module: &[&str], code: &str| Source {
        path: path.to_owned(),
        module: module.iter().map(ToString::to_string).collect(),
        text: code.to_owned(),
        code: code_of(code),
    };
    let sources = [
        source(
            "lib.rs",
            &[],
            "mod a;\nmod b;\npub use a::{Other, Thing};\n",
        ),
        source(
            "a.rs",
            &["a"],
            "mod c;\nuse crate::{\n    b::{self, Two},\n};\n",
        ),
        source(
            "b.rs",
            &["b"],
            "fn f() -> crate::Thing {}\n// use crate::a::c;\n",
        ),
        source("a/c.rs", &["a", "c"], "use super::super::b;\n"),
    ];
    let imports = imports(&sources);
    assert_eq!(imports["a/c.rs"], BTreeSet::from(["b.rs".to_owned()]));
    let found = circle(&imports).unwrap();
    assert_eq!(found, ["a.rs", "b.rs", "a.rs"]);
    let layers: [&[&str]; 2] = [&["a"], &["b"]];
    let wrong = against_layers(&sources, &imports, &layers);
    assert_eq!(wrong, "b.rs imports a.rs\n");
}

/// The lengths of the functions in a formatted file, with their names.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let indent = &line[..line.len() - trimmed.len()];
        let Some(name) = definition(trimmed, "fn") else {
            continue;
        };
        // rustfmt puts the closing brace below the start of the definition.
        let end = lines[at..].iter().position(|line| {
            let rest = line.strip_prefix(indent).unwrap_or("");
            rest.starts_with('}')
                || line.ends_with(';') && rest == line.trim_start()
                || line.ends_with("{}")
        });
        functions.push((name, end.map_or(0, |end| end + 1)));
    }
    functions
}

/// The name that a line defines with this keyword.
fn definition(line: &str, keyword: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    loop {
        let word = words.next()?;
        if word == keyword {
            break;
        }
        let is_modifier = matches!(word, "async" | "const" | "unsafe") || word.starts_with("pub");
        if !is_modifier {
            return None;
        }
    }
    let name = words.next()?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
    Some(name[..end.unwrap_or(name.len())].to_owned())
}

#[test]
fn files_and_functions_have_a_readable_length() {
    let mut long = String::new();
    for source in PACKAGES.iter().flat_map(|package| sources(package)) {
        let lines = source.text.lines().count();
        if lines > MAX_FILE_LINES {
            writeln!(long, "{}: {lines} lines", source.path).unwrap();
        }
        for (name, lines) in functions(&source.text) {
            if lines > MAX_FUNCTION_LINES {
                writeln!(long, "{}: fn {name} has {lines} lines", source.path).unwrap();
            }
        }
    }
    assert!(
        long.is_empty(),
        "above {MAX_FILE_LINES} lines a file or {MAX_FUNCTION_LINES} a function:\n{long}"
    );
}

#[test]
fn comments_name_what_they_are_about() {
    let mut found = Vec::new();
    for source in PACKAGES.iter().flat_map(|package| sources(package)) {
        for (line, number) in source.text.lines().zip(1..) {
            let Some(comment) = line.split_once("//").map(|(_, comment)| comment) else {
                continue;
            };
            let words = comment.split(|c: char| !c.is_alphabetic());
            for word in words.filter(|word| matches!(&word.to_lowercase()[..], "whoever" | "whom"))
            {
                found.push(format!("{}:{number}: {word}", source.path));
            }
        }
    }
    assert!(found.len() <= MAX_STUMBLING_WORDS, "{}", found.join("\n"));
}

/// Names that had several meanings, or a meaning of their own. No definition bears one again.
const RETIRED_NAMES: [(&str, &[&str]); 5] = [
    (
        "core/src",
        &[
            "opened",
            "open",
            "open_wanted",
            "settled",
            "settle",
            "awaits_settling",
            "SETTLING",
            "doubt",
            "doubted",
            "is_doubted",
            "rouse",
            "hasten",
            "Aftermath",
            "trash",
            "gone",
            "Note",
            "Did",
            "Dispatching",
            "carry",
            "marks",
            "hole",
            "dig",
            "Milestones",
            "want",
            "helped",
            "help",
            "look_out",
            "lookout",
            "linger",
            "lying",
            "gathered",
            "many",
            "streak",
            "done",
            "is_due",
            "offer",
            "Patience",
            "PATIENCE",
            "glance",
            "warm",
            "fetch",
            "Members",
            "Groups",
            "Slots",
            "Piece",
            "keep",
            "share",
            "LONG",
            "turns",
            "lean",
            "copy_out",
            "below",
            "at",
            "Key",
            "Here",
            "Elsewhere",
            "Place",
            "Parker",
            "Entry",
            "BriefMutex",
            "Gathered",
            "FEW",
        ],
    ),
    (
        "adapters/src",
        &[
            "Parker", "Batch", "Groups", "Entry", "Asked", "Gathered", "FEW", "Patience",
        ],
    ),
    (
        "etcd/src",
        &[
            "Turn",
            "Frozen",
            "Census",
            "Seat",
            "admit",
            "Bell",
            "ring",
            "rung",
            "hear",
            "Said",
            "told",
            "known",
            "Why",
            "Asked",
            "Due",
            "sign",
            "whole",
            "at",
            "misplaced",
            "may_range",
            "may_put",
            "may_attach",
            "may_everything",
            "Refusal",
            "Groups",
            "Entry",
            "Gathered",
        ],
    ),
    (
        "server/src",
        &[
            "Desk", "Clerk", "chores", "hand_in", "room", "FAREWELL", "tell",
        ],
    ),
    (
        "benches/src",
        &[
            "heat",
            "Heat",
            "roster",
            "entrant",
            "contestant",
            "stage",
            "bystanders",
        ],
    ),
];

#[test]
fn no_definition_bears_a_retired_name() {
    let mut found = String::new();
    for (folder, names) in RETIRED_NAMES {
        let package = folder.strip_suffix("/src").unwrap();
        for source in sources(package) {
            let keywords = [
                "fn", "struct", "enum", "trait", "type", "const", "static", "mod",
            ];
            for (line, number) in source.code.lines().zip(1..) {
                let line = line.trim_start();
                let defined = keywords
                    .iter()
                    .find_map(|keyword| definition(line, keyword));
                let name = defined.or_else(|| field(line));
                if let Some(name) = name.filter(|name| names.contains(&&name[..])) {
                    writeln!(found, "{}, line {number} of the code: {name}", source.path).unwrap();
                }
            }
        }
    }
    assert!(
        found.is_empty(),
        "retired names (CONTRIBUTING.md):\n{found}"
    );
}

/// The field that a line defines: `name: Type,`, alone on its line.
fn field(line: &str) -> Option<String> {
    let line = line.strip_suffix(',')?;
    let line = line
        .strip_prefix("pub(crate) ")
        .or_else(|| line.strip_prefix("pub "))
        .unwrap_or(line);
    let (name, of_type) = line.split_once(": ")?;
    let is_type = of_type
        .starts_with(|c: char| c.is_uppercase() || c == '&' || c == '(' || c == '[')
        || matches!(of_type, "bool" | "u8" | "u32" | "u64" | "usize" | "i64");
    (is_type && name.chars().all(|c| c.is_alphanumeric() || c == '_')).then(|| name.to_owned())
}
