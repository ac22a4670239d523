import * as z from 'zod';

/** What one process of clients is told, as its one argument, in JSON. */
export const Crowd = z.object({
  /** Host and port of the caches; clients take turns. */
  caches: z.array(z.object({ host: z.string(), port: z.int() })).min(1),
  /** Source address: each process has the ports of its own. */
  localAddress: z.string(),
  path: z.string(),
  /** The body that everyone must get. */
  bodyFile: z.string(),
  clients: z.int(),
  /** Number of its first client. */
  first: z.int(),
  /** Of all processes together; clients come one after the other over `spreadMs`. */
  allClients: z.int(),
  startAtMs: z.number(),
  spreadMs: z.number(),
  deadlineMs: z.number(),
});
export type Crowd = z.output<typeof Crowd>;

export const CrowdResult = z.object({
  /** Clients that got every byte; of these, those that read slowly. */
  complete: z.int(),
  slow: z.int(),
  /** Clients that went away on purpose, having got what they had got right. */
  left: z.int(),
  /** What failed, at most ten, and how many failed. */
  failures: z.array(z.string()),
  failed: z.int(),
  bytes: z.number(),
  /** From the first start to the end of each complete client. */
  secondsMedian: z.number(),
  secondsLast: z.number(),
});
export type CrowdResult = z.output<typeof CrowdResult>;

export type Manner = 'plain' | 'leaves' | 'slow';

/** One client in twenty goes away in the middle of the body, one in twenty reads slowly. */
export function mannerOf(client: number): Manner {
  if (client % 20 === 7) return 'leaves';
  return client % 20 === 13 ? 'slow' : 'plain';
}
