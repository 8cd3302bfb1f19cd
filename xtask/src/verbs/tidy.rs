//! `tidy`: our own rules. The rules are in `tidy`, beside `verbs`.

use std::path::Path;

use serde::Serialize;

use crate::cli::Globals;
use crate::failure::Failure;
use crate::tidy::{self, Finding, RULES, Rule};
use crate::workspace;

/// Check the rules of this repository
///
/// The invariants of ARCHITECTURE.md and those habits of STYLE.md that a program can check. Also a test.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask tidy
  cargo xtask tidy --json")]
pub struct Args {}

#[derive(Serialize)]
struct Document {
    rules: Vec<&'static str>,
    findings: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    rule: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    invariant: Option<u8>,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    message: String,
    hint: &'static str,
}

impl Args {
    /// Prints what breaks a rule; exit code 1 if anything does.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let findings = findings(&workspace::require()?)?;
        if !globals.output.json {
            return print(globals, findings).map(|()| 0);
        }
        let line = |(rule, finding): (&'static Rule, Finding)| Line {
            rule: rule.name,
            invariant: rule.invariant,
            path: finding.path,
            line: finding.line,
            message: finding.message,
            hint: rule.hint,
        };
        let findings: Vec<Line> = findings.into_iter().map(line).collect();
        let code = u8::from(!findings.is_empty());
        globals.output.value(&Document { rules: RULES.iter().map(|rule| rule.name).collect(), findings })?;
        Ok(code)
    }
}

/// What breaks a rule in the checkout at `root`.
pub fn findings(root: &Path) -> Result<Vec<(&'static Rule, Finding)>, Failure> {
    tidy::run(root)
}

/// Prints the findings for people, each rule once; a failure if there are any.
pub fn print(globals: &Globals, findings: Vec<(&'static Rule, Finding)>) -> Result<(), Failure> {
    let (output, count) = (globals.output, findings.len());
    let print = |text: &str| {
        if !output.json {
            return output.line(text);
        }
        output.note(text);
        Ok(())
    };
    let mut last = "";
    for (rule, finding) in findings {
        if rule.name != last {
            let invariant = rule.invariant.map(|number| format!(", invariant {number}")).unwrap_or_default();
            print(&format!("{}{invariant}; hint: {}", rule.name, rule.hint))?;
            last = rule.name;
        }
        print(&format!("  {finding}"))?;
    }
    match count {
        0 => {
            output.note(format_args!("{} rules hold", RULES.len()));
            Ok(())
        }
        1 => Err(Failure::new("1 finding breaks a rule")),
        _ => Err(Failure::new(format!("{count} findings break rules"))),
    }
}
