//! One path on one replica: an audit of nothing, and a look.

use super::far::Far;
use super::inspection::{Pulse, begin};
use super::{AuditSettings, Insight};
use crate::session::Target;
use crate::{Error, Result};
use fulmar_model::{Look, RelPath};
use fulmar_tree::Tree;
use fulmar_tree::audit::Scope;
use fulmar_wire::{Answer, Question};
use tokio::sync::watch;

/// What the replica has there, read now, beside what it recorded.
pub(crate) async fn glance(
    settings: &AuditSettings,
    insight: &Insight,
    tree: &Tree,
    target: Target,
    path: RelPath,
) -> Result<Look> {
    let settings = AuditSettings { scope: Scope::nothing(), ..settings.clone() };
    let mut far = Far::new(target.connect(None).await?, watch::Sender::new(Pulse::default()));
    far.ask(Question::Begin(begin(&settings, Some(insight), tree)?)).await?;
    match (far.answer().await?, far.answer().await?) {
        (Answer::Begun(_), Answer::Digest(_)) => {}
        _ => return Err(Error::Protocol("an answer to something else")),
    }
    let question = far.ask_looks(vec![(path, true)]).await?;
    far.look(question).await
}
