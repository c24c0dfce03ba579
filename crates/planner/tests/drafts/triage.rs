//! Tasks that a cheap model looks at before anything is planned.

use planfleet_core::{
    plan::StepKind,
    record::{Decision, Fact},
    usage::{Account, Charge},
};
use planfleet_llm::{Error, ErrorClass};
use planfleet_planner::Models;
use serde_json::{Value, json};

use crate::{
    Desk,
    first::sound,
    model::{Reply, Script},
};

fn verdict(needs_plan: bool) -> Value {
    json!({"needs_plan": needs_plan, "reason": "it is one question"})
}

#[tokio::test(start_paused = true)]
async fn a_task_that_needs_no_plan_costs_no_planner() {
    let (planner, triage) = (Script::texts::<&str>([]), Script::texts([verdict(false)]));
    let mut desk = Desk::empty().await;
    desk.start_with(Some(&planner), Some(&triage));
    desk.order(None).await;
    let Fact::StepPlanned { step, .. } = desk.fact().await else { panic!("no step") };
    assert_eq!((step.id, step.kind, step.tier.as_str()), (1, StepKind::Model, "default"));
    let (_, sealed) = desk.sealed().await;
    assert_eq!(sealed.decision, Decision::Plan { final_step: 1 });
    assert_eq!((sealed.reason.as_str(), sealed.model.as_str()), ("not planned: it is one question", ""));
    let accounts: Vec<_> = sealed.usage.iter().map(|charge| (charge.account, charge.usage.calls)).collect();
    assert_eq!(accounts, [(Account::Triage, 1)]);
    assert_eq!(planner.asked().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_plan_is_planned_and_both_are_charged_apart() {
    let (planner, triage) = (Script::texts([sound()]), Script::texts([verdict(true)]));
    let mut desk = Desk::empty().await;
    desk.start_with(Some(&planner), Some(&triage));
    desk.order(None).await;
    let (steps, sealed) = desk.sealed().await;
    assert_eq!((steps.len(), sealed.model.as_str()), (2, "scripted"));
    let accounts: Vec<_> = sealed.usage.iter().map(|charge| charge.account).collect();
    assert_eq!(accounts, [Account::Triage, Account::Planner]);
    assert_eq!(Charge::sum(&sealed.usage).calls, 2);
}

#[tokio::test(start_paused = true)]
async fn another_model_decides_where_the_first_is_out_of_credit() {
    let broke = Error { may_be_billed: false, ..Error::new(ErrorClass::Quota, "no credit") };
    let (first, second) = (Script::new([Reply::Error(broke)]), Script::texts([verdict(false)]));
    let planner = Script::texts::<&str>([]);
    let mut desk = Desk::empty().await;
    let triage = first.handle().with_fallbacks(vec![second.handle()]);
    desk.start_models(Models { planner: Some(planner.handle()), triage: Some(triage) });
    desk.order(None).await;
    let (steps, sealed) = desk.sealed().await;
    assert_eq!((steps.len(), sealed.reason.as_str()), (1, "not planned: it is one question"));
    assert_eq!([first.asked().len(), second.asked().len(), planner.asked().len()], [1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn no_verdict_means_a_plan() {
    let (planner, triage) = (Script::texts([sound()]), Script::texts(["I would say no"]));
    let mut desk = Desk::empty().await;
    desk.start_with(Some(&planner), Some(&triage));
    desk.order(None).await;
    let (steps, _) = desk.sealed().await;
    assert_eq!(steps.len(), 2);
    assert_eq!((planner.asked().len(), triage.asked().len()), (1, 1), "it is asked once");
}
