/** Who has to act on a failed attempt. */
export type CauseOwner = 'user' | 'payload' | 'site' | 'service';

export interface CauseRule {
  owner: CauseOwner;
  /** Whether another attempt may end differently; the job's own maximum still bounds it. */
  retry: boolean;
  /** False where the attempt ended through no fault of the job: it does not use up one of its tries. */
  countsAsTry: boolean;
  meaning: string;
  fix: string;
}

const rule = (
  owner: CauseOwner,
  retry: boolean,
  meaning: string,
  fix: string,
  countsAsTry = true,
): CauseRule => ({
  owner,
  retry,
  countsAsTry,
  meaning,
  fix,
});

/** Every cause with which an attempt can end other than well: the owner of the error decides whether it is retried. */
export const causeTable = {
  PAYLOAD_EXIT: rule(
    'payload',
    false,
    'The payload ended with a non-zero exit code.',
    'Read its log; the last lines are in the job record.',
  ),
  PAYLOAD_SIGNAL: rule(
    'payload',
    false,
    'The payload was ended by a signal that Pilotage did not send.',
    'Read its log; look for a crash.',
  ),
  PAYLOAD_NOT_STARTED: rule(
    'user',
    false,
    'The payload command could not be started.',
    'Check the command and that its file is executable.',
  ),
  WALLTIME_EXCEEDED: rule(
    'user',
    false,
    'The payload ran longer than its wall-clock limit.',
    'Raise limits.wallSeconds or split the job.',
  ),
  MEMORY_EXCEEDED: rule(
    'user',
    false,
    'The payload used more memory than its limit.',
    'Raise limits.memoryBytes or use less.',
  ),
  DISK_EXCEEDED: rule(
    'user',
    false,
    'The work directory grew over its limit.',
    'Raise limits.diskBytes or write less.',
  ),
  OUTPUT_MISSING: rule(
    'payload',
    false,
    'A declared output file was not made.',
    'Check the names in outputs.',
  ),
  STAGE_IN_FAILED: rule(
    'site',
    true,
    'An input could not be fetched.',
    'Check the source and the network of the site.',
  ),
  STAGE_IN_CHECKSUM: rule(
    'service',
    true,
    'An input does not have the sha256 that the job names.',
    'Check the source copy, or the checksum in the job.',
  ),
  STAGE_OUT_FAILED: rule(
    'site',
    true,
    'An output could not be stored.',
    'Check the destination, its space and permissions.',
  ),
  NODE_UNFIT: rule('site', true, 'The worker node failed its checks.', 'See the pilot log of that node.'),
  PILOT_LOST: rule(
    'site',
    true,
    'The pilot was not heard of until its lease ran out.',
    'Look for a killed batch job or a network fault at the site.',
  ),
  PILOT_TERMINATED: rule(
    'site',
    true,
    'The pilot was told to end (SIGTERM) and handed the job back.',
    'Nothing: the job is run again.',
    false,
  ),
  RELEASE_REVOKED: rule(
    'service',
    true,
    'The release of the pilot was revoked for good while the job ran, and the payload was ended with it.',
    'Nothing: the job is run again, by a pilot of another release.',
    false,
  ),
  PILOT_ERROR: rule('service', true, 'The pilot itself failed.', 'Report it with the pilot log.'),
  KILLED: rule('user', false, 'The job was killed on request.', 'Nothing, if that was meant.'),
} as const satisfies Record<string, CauseRule>;

export type CauseCode = keyof typeof causeTable;
export const causeCodes = Object.keys(causeTable) as CauseCode[];
