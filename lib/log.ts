import { pino } from 'pino';
import type { Logger } from 'pino';

export type { Logger } from 'pino';

/** Fields whose values never reach a log, at any depth that our records use. */
const SECRET_FIELDS = [
  'secret',
  'passphrase',
  'password',
  'privateKey',
  'key',
  'token',
  'proxy',
  'authorization',
];

/** One JSON logger per program, on standard error; make a child where an id is born (`log.child({ jobId })`). */
export function createLog(program: string, level = process.env.PILOTAGE_LOG ?? 'info'): Logger {
  return pino(
    {
      level,
      base: { program, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: SECRET_FIELDS.flatMap(field => [field, `*.${field}`]), censor: '[redacted]' },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}

/** A logger that says nothing, for library use without a program. */
export const silentLog: Logger = pino({ level: 'silent' });
