//! Dead letters. Of a record that nobody can read, nobody can say whose it was: they are
//! for callers of the fleet alone, and for a tenant there are none.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse as _,
};
use planfleet_bus::dead_letters::{Kept, Which};

use super::{
    Outcome, Shared,
    query::{Asked, Limit},
};
use crate::{
    access::Caller,
    dead_letters,
    problem::Problem,
    service::Service,
    view::{DeadLetterDetail, DeadLetters, Replayed},
};

/// List dead letters, the newest last
#[utoipa::path(get, path = "/v1/dead-letters", operation_id = "list_dead_letters", tag = "dead letters", params(Limit), responses((status = 200, body = DeadLetters)))]
pub(super) async fn list(State(service): Shared, caller: Caller, Asked(limit): Asked<Limit>) -> Outcome {
    let limit = limit.get()?;
    let letters = match caller.is_of_fleet() {
        true => service.answer(service.bus.newest_dead_letters(&Which::All, limit)).await?,
        false => Vec::new(),
    };
    Ok(Json(DeadLetters { dead_letters: letters.iter().map(dead_letters::summary).collect() })
        .into_response())
}

/// Look at a dead letter
#[utoipa::path(
    get, path = "/v1/dead-letters/{seq}", operation_id = "get_dead_letter", tag = "dead letters", params(("seq" = u64, Path)),
    responses((status = 200, body = DeadLetterDetail))
)]
pub(super) async fn one(State(service): Shared, caller: Caller, Path(seq): Path<String>) -> Outcome {
    let kept = kept(&service, &caller, &seq).await?;
    Ok(Json(service.answer(dead_letters::detail(&service.bus, &kept)).await?).into_response())
}

/// Send a dead message again to where it came from
#[utoipa::path(
    post, path = "/v1/dead-letters/{seq}/replay", operation_id = "replay_dead_letter", tag = "dead letters", params(("seq" = u64, Path)),
    responses((status = 200, body = Replayed))
)]
pub(super) async fn replay(State(service): Shared, caller: Caller, Path(seq): Path<String>) -> Outcome {
    let kept = kept(&service, &caller, &seq).await?;
    if !service.config.replays_all && !kept.letter.is_of_clients() {
        let detail = "behind the broker's locks the API cannot write what services write: an operator replays \
                      it, by `planfleet queue dlq replay` with the admin's key";
        return Err(Problem::new(StatusCode::FORBIDDEN, "replay_denied", detail));
    }
    let replayed = service.answer(dead_letters::replay(&service.bus, &kept)).await?;
    let detail = replayed.map_err(|why| Problem::conflict("not_replayed", why))?;
    let run_id = kept.letter.about().run.map(|run| run.to_string());
    Ok(Json(Replayed { seq: kept.seq, run_id, detail }).into_response())
}

/// Drop a dead letter
#[utoipa::path(
    delete, path = "/v1/dead-letters/{seq}", operation_id = "discard_dead_letter", tag = "dead letters", params(("seq" = u64, Path)),
    responses((status = 204))
)]
pub(super) async fn discard(State(service): Shared, caller: Caller, Path(seq): Path<String>) -> Outcome {
    let kept = kept(&service, &caller, &seq).await?;
    // Somebody else has dropped it in between, which is as good.
    service.answer(service.bus.drop_dead_letter(kept.seq)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn kept(service: &Service, caller: &Caller, seq: &str) -> Result<Kept, Problem> {
    let unknown = || Problem::unknown("dead letter", "dead_letter_unknown", seq);
    // Zero is no position, and means another thing to the broker.
    let number = seq.parse().ok().filter(|seq| *seq > 0 && caller.is_of_fleet()).ok_or_else(unknown)?;
    service.answer(service.bus.dead_letter(number)).await?.ok_or_else(unknown)
}
