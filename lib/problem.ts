import * as z from 'zod';
import { PilotageError } from './errors.ts';
import { errorTable, isWireErrorCode } from './error-table.ts';
import type { WireErrorCode } from './error-table.ts';

/** Media type of every error answer (RFC 9457). */
export const PROBLEM_TYPE = 'application/problem+json';

/** RFC 9457 problem details with our members: `code` is stable, the rest is for people. */
export const Problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  code: z.string(),
  requestId: z.string().optional(),
  where: z.string().optional(),
  expected: z.string().optional(),
  found: z.string().optional(),
  fix: z.string().optional(),
  rule: z.string().optional(),
});
export type Problem = z.output<typeof Problem>;

/** An error that crosses the wire: its code is in the error table. */
export const wireError = (
  code: WireErrorCode,
  message: string,
  more: Omit<ConstructorParameters<typeof PilotageError>[0], 'code' | 'message'> = {},
): PilotageError<WireErrorCode> => new PilotageError({ ...more, code, message });

/** Server side: the answer for an error. Codes outside the table become E_INTERNAL, and say nothing of the inside. */
export function toProblem(error: PilotageError, requestId: string): Problem {
  const code: WireErrorCode = isWireErrorCode(error.code) ? error.code : 'E_INTERNAL';
  const known = isWireErrorCode(error.code);
  const { where, expected, found, fix, rule } = known ? error : ({} as Partial<PilotageError>);
  return {
    type: `urn:pilotage:error:${code}`,
    title: errorTable[code].meaning,
    status: errorTable[code].status,
    detail: known ? error.message : 'The server failed to answer this request.',
    code,
    requestId,
    ...(where !== undefined && { where }),
    ...(expected !== undefined && { expected }),
    ...(found !== undefined && { found }),
    ...(fix !== undefined && { fix }),
    ...(rule !== undefined && { rule }),
  };
}

/** What a status means where the code is missing (a front's own page) or not known yet (a newer server's). */
function codeOfStatus(status: number): WireErrorCode | undefined {
  if (status === 429) return 'E_TOO_MANY_REQUESTS';
  if (status === 500) return 'E_INTERNAL';
  return status === 502 || status === 503 || status === 504 ? 'E_NOT_READY' : undefined;
}

/** Client side: the same error again. Anything that is not a problem of ours becomes E_PROTOCOL. */
export function fromProblem(
  status: number,
  body: unknown,
  where: string,
  retryAfter?: string,
): PilotageError {
  const parsed = Problem.safeParse(body);
  const retryAfterSeconds =
    retryAfter !== undefined && /^\d{1,5}$/.test(retryAfter) ? Number(retryAfter) : undefined;
  if (!parsed.success) {
    return new PilotageError({
      code: codeOfStatus(status) ?? 'E_PROTOCOL',
      message: `The server answered ${status} without an explanation we know.`,
      where,
      expected: PROBLEM_TYPE,
      fix: 'Is this the right address, and a Pilotage server?',
      ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    });
  }
  const { detail, expected, found, fix, rule } = parsed.data;
  return new PilotageError({
    code: isWireErrorCode(parsed.data.code) ? parsed.data.code : (codeOfStatus(status) ?? parsed.data.code),
    message: detail,
    where: parsed.data.where ?? where,
    ...(expected !== undefined && { expected }),
    ...(found !== undefined && { found }),
    ...(fix !== undefined && { fix }),
    ...(rule !== undefined && { rule }),
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  });
}
