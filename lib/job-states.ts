/** PanDA's state names; the transition table below is the only place that says which change is legal. */
export const jobStates = [
  'defined',
  'assigned',
  'activated',
  'sent',
  'starting',
  'running',
  'holding',
  'transferring',
  'finished',
  'failed',
  'cancelled',
  'closed',
] as const;

export type JobState = (typeof jobStates)[number];

/** From -> to. `activated` behind an active state is a requeue: the attempt was lost or handed back. */
export const jobTransitions: Readonly<Record<JobState, readonly JobState[]>> = {
  defined: ['assigned', 'activated', 'cancelled', 'closed', 'failed'],
  assigned: ['activated', 'cancelled', 'closed', 'failed'],
  activated: ['sent', 'cancelled', 'closed', 'failed'],
  sent: ['starting', 'running', 'holding', 'transferring', 'finished', 'failed', 'cancelled', 'activated'],
  starting: ['running', 'holding', 'transferring', 'finished', 'failed', 'cancelled', 'activated'],
  running: ['holding', 'transferring', 'finished', 'failed', 'cancelled', 'activated'],
  holding: ['running', 'transferring', 'finished', 'failed', 'cancelled', 'activated'],
  transferring: ['holding', 'finished', 'failed', 'cancelled', 'activated'],
  finished: [],
  failed: [],
  cancelled: [],
  closed: [],
};

export const finalStates: readonly JobState[] = jobStates.filter(state => jobTransitions[state].length === 0);
/** States in which a pilot holds the job. */
export const activeStates: readonly JobState[] = ['sent', 'starting', 'running', 'holding', 'transferring'];

export const isFinal = (state: JobState): boolean => finalStates.includes(state);
export const mayBecome = (from: JobState, to: JobState): boolean => jobTransitions[from].includes(to);
