import * as z from 'zod';

const MARK = 'PILOTAGE-RESULT ';

const ResultLine = z.object({
  code: z.string().regex(/^(ok|E_[A-Z0-9_]{1,60})$/),
  exit: z.int().min(0).max(255),
  cache: z.string().max(4096).optional(),
  message: z.string().max(4000).optional(),
});
export type ResultLine = z.output<typeof ResultLine>;

/** The wrapper's last word in a pilot's output: the last line that begins with its mark; null when there is none. */
export function parseResultLine(output: string): ResultLine | null {
  const line = output
    .split('\n')
    .findLast(text => text.startsWith(MARK))
    ?.slice(MARK.length);
  if (line === undefined) return null;
  try {
    const parsed = ResultLine.safeParse(JSON.parse(line));
    return parsed.success ? parsed.data : null;
  } catch {
    return null; // not JSON: no result line, the exit code decides
  }
}
