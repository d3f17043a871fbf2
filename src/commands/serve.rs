//! `fulmar serve --stdio ROOT`: the far end of an ssh replica.

use crate::cli::ServeArgs;
use crate::commands::replicas::serving;
use crate::exit::{Exit, Failure, Result};
use crate::identity;
use fulmar_replica::Error;

/// Serves the primary at the other end of standard input and output.
pub async fn run(args: ServeArgs) -> Result {
    let root = std::path::absolute(&args.root).map_err(Failure::failed)?;
    let link = fulmar_link::standard().await.map_err(|error| {
        Failure::failed(error).hint("this command is started by fulmar on the primary: fulmar sync SOURCE HOST:/path")
    })?;
    match fulmar_replica::serve(root, link, serving(identity::boot())).await {
        Ok(()) => Ok(Exit::Done),
        Err(error @ Error::Refused { .. }) => Err(Failure { exit: Exit::Usage, error: error.into(), hint: None }),
        Err(error) => Err(Failure::failed(error)),
    }
}
