/** What the server said a queue can use, with the seconds since it said so. */
export interface DemandSeen {
  ageSeconds: number;
  activated: number;
  cap: number;
  submissionsOpen: number;
  pilotsIdle: number;
  pilotsBusy: number;
}

/** What the batch system showed, with the seconds since it was looked at. */
export interface EngineSeen {
  ageSeconds: number;
  /** False when any part of the batch system could not be read. */
  complete: boolean;
}

/** What the ledger knows of this autopilot's own pilots. */
export interface OwnPilots {
  /** Every pilot that has not ended, whatever its state, and every pilot of a request that is still unanswered. */
  notEnded: number;
  /** Those of them that have not enrolled at the server. */
  waiting: number;
  /** Pilots the engine should show: submitted and not ended. */
  expected: number;
  /** Expected pilots that a complete engine snapshot did not show. */
  missing: number;
  /** Batches whose fate at the engine or server is not known yet. */
  unresolved: number;
}

/** How the latest pilots and submissions ended. */
export interface RecentOutcomes {
  ended: number;
  empty: number;
  /** Pilots that failed since the last one that did not. */
  failedPilots: number;
  /** Distinct batches those belong to. */
  failedBatches: number;
  lastFailedAgoSeconds: number;
  /** Submissions in a row that the engine rejected. */
  rejections: number;
  lastRejectedAgoSeconds: number;
}

/** Everything a plan is made from. `null` where the thing could not be read. */
export interface PlanSnapshot {
  demand: DemandSeen | null;
  engine: EngineSeen | null;
  own: OwnPilots;
  recent: RecentOutcomes;
}

export interface PlanPolicy {
  maxPilots: number;
  maxPerCycle: number;
  /** Pilots wanted for each activated job; below 1 where a pilot runs several short jobs. */
  pilotsPerJob: number;
  /** Older demand or engine snapshots than this are not acted on. */
  maxAgeSeconds: number;
  /** Ended pilots needed before the share of empty ones counts. */
  emptyMinimum: number;
  /** Failed pilots in a row that start the back-off. */
  failureThreshold: number;
  backoffSeconds: number;
  maxBackoffSeconds: number;
}

/** One step's readable message: what came in, what it let through, and why. */
export interface PlanReason {
  step: string;
  in: number;
  out: number;
  why: string;
}

/** A snapshot that passed the freshness step. */
export type FreshSnapshot = PlanSnapshot & { demand: DemandSeen; engine: EngineSeen };

/** Takes the number the step before it let through; gives its own. Never gives more than it got, but for the first. */
export type PlanStep = (wanted: number, snapshot: FreshSnapshot, policy: PlanPolicy) => PlanReason;
