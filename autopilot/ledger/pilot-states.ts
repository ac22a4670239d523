/** States of one pilot in the ledger; the table below is the only place that says which change is legal. */
export const pilotStates = [
  'intent',
  'submitting',
  'queued',
  'running',
  'done',
  'done_empty',
  'failed',
  'cancelled',
  'lost',
  'unsubmitted',
] as const;

export type PilotState = (typeof pilotStates)[number];

const ended: readonly PilotState[] = ['done', 'done_empty', 'failed', 'cancelled', 'lost'];

/** From -> to. A lost pilot may come back; nothing else leaves a final state. */
export const pilotTransitions: Readonly<Record<PilotState, readonly PilotState[]>> = {
  intent: ['submitting', 'unsubmitted'],
  submitting: ['queued', 'unsubmitted', ...ended],
  queued: ['running', ...ended],
  running: ended,
  done: [],
  done_empty: [],
  failed: [],
  cancelled: [],
  lost: ['queued', 'running', 'done', 'done_empty', 'failed', 'cancelled'],
  unsubmitted: [],
};

/** States that count against every cap: not known to have ended. */
export const liveStates: readonly PilotState[] = ['intent', 'submitting', 'queued', 'running'];

export const isLive = (state: PilotState): boolean => liveStates.includes(state);
export const mayBecome = (from: PilotState, to: PilotState): boolean => pilotTransitions[from].includes(to);

/** `asking`: the server was or will be asked with the batch's key; every other state says how far the batch came. */
export const batchStates = [
  'asking',
  'granted',
  'submitting',
  'submitted',
  'rejected',
  'refused',
  'abandoned',
] as const;
export type BatchState = (typeof batchStates)[number];

export const batchTransitions: Readonly<Record<BatchState, readonly BatchState[]>> = {
  asking: ['granted', 'refused', 'abandoned'],
  granted: ['submitting', 'rejected', 'abandoned'],
  submitting: ['submitted', 'rejected', 'abandoned'],
  submitted: [],
  rejected: [],
  refused: [],
  abandoned: [],
};
