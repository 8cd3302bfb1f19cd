//! `tidy`: our own rules. The rules are in `tidy`, beside `verbs`.

use serde::Serialize;

use crate::cli::Globals;
use crate::failure::Failure;
use crate::tidy::{self, RULES};
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
        let findings = tidy::run(&workspace::require()?)?;
        let (output, count) = (globals.output, findings.len());
        if output.json {
            let line = |(rule, finding): (&'static tidy::Rule, tidy::Finding)| Line {
                rule: rule.name,
                invariant: rule.invariant,
                path: finding.path,
                line: finding.line,
                message: finding.message,
                hint: rule.hint,
            };
            let rules = RULES.iter().map(|rule| rule.name).collect();
            output.value(&Document { rules, findings: findings.into_iter().map(line).collect() })?;
            return Ok(u8::from(count > 0));
        }
        let mut last = "";
        for (rule, finding) in findings {
            if rule.name != last {
                let invariant = rule.invariant.map(|number| format!(", invariant {number}")).unwrap_or_default();
                output.line(&format!("{}{invariant}; hint: {}", rule.name, rule.hint))?;
                last = rule.name;
            }
            output.line(&format!("  {finding}"))?;
        }
        match count {
            0 => {
                output.note(format_args!("{} rules hold", RULES.len()));
                Ok(0)
            }
            1 => Err(Failure::new("1 finding")),
            _ => Err(Failure::new(format!("{count} findings"))),
        }
    }
}
