//! What rules find: each finding is printed behind the event that completes it.

use super::Printer;
use crate::deeds::deed::Deed;
use crate::dialog::Said;
use crate::error::Result;
use crate::event::process::ProcessInfo;
use crate::rules::{Engine, Finding};

impl Printer {
    /// The kernel side's word of a process.
    pub(super) fn learn(&mut self, info: &ProcessInfo) {
        if let Some(rules) = &mut self.rules {
            rules.learn(info);
        }
    }

    /// Rules see what was done before it is masked.
    pub(super) fn judge_deed(&mut self, deed: &Deed) -> Vec<Finding> {
        self.judge(|rules, found| rules.deed(deed, found))
    }

    /// Rules see what was said before it is masked.
    pub(super) fn judge_said(&mut self, said: &Said) -> Vec<Finding> {
        self.judge(|rules, found| rules.said(said, found))
    }

    /// What had to wait until it was known what was said.
    pub(super) fn tick_rules(&mut self, now_ns: u64) -> Result<()> {
        let found = self.judge(|rules, found| rules.tick(now_ns, found));
        self.put_findings(found)
    }

    /// Nothing comes any more.
    pub(super) fn finish_rules(&mut self) -> Result<()> {
        let found = self.judge(Engine::finish);
        self.put_findings(found)
    }

    /// Masks the secrets in them; without content, a title says enough.
    pub(super) fn put_findings(&mut self, findings: Vec<Finding>) -> Result<()> {
        for mut finding in findings {
            let detail = &mut finding.detail;
            if self.is_discreet {
                detail.message.clone_from(&detail.title);
            }
            if let Some(redactor) = &mut self.redactor {
                redactor.text(&mut detail.message);
            }
            self.put(false, |sink| sink.finding(&finding))?;
        }
        Ok(())
    }

    fn judge(&mut self, judge: impl FnOnce(&mut Engine, &mut Vec<Finding>)) -> Vec<Finding> {
        let mut found = Vec::new();
        if let Some(rules) = &mut self.rules {
            judge(rules, &mut found);
        }
        found
    }
}
