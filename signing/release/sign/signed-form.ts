import * as z from 'zod';

const version = z.int().min(1);
const signedPart = (type: 'root' | 'targets') => ({
  _type: z.literal(type),
  spec_version: z.string().regex(/^1\.0\.\d+$/),
  version,
  expires: z.string(),
});

const keys = z.record(
  z.string(),
  z.strictObject({ keytype: z.string(), scheme: z.string(), keyval: z.strictObject({ public: z.string() }) }),
);
const role = { keyids: z.array(z.string()).min(1), threshold: version };

/** Exactly what a root of ours may hold: a field that nobody would be shown is not signed. */
export const RootForm = z.strictObject({
  ...signedPart('root'),
  consistent_snapshot: z.literal(true),
  keys,
  roles: z.strictObject({
    root: z.strictObject(role),
    targets: z.strictObject(role),
    snapshot: z.strictObject(role),
    timestamp: z.strictObject(role),
  }),
});
export type RootForm = z.output<typeof RootForm>;

/** Exactly what `targets` and delegated roles of ours may hold. */
export const TargetsForm = z.strictObject({
  ...signedPart('targets'),
  targets: z.record(
    z.string().regex(/^[A-Za-z0-9._/+-]{1,500}$/, 'a plain path'),
    z.strictObject({
      length: z.int().min(0),
      hashes: z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
      custom: z.record(z.string(), z.json()).optional(),
    }),
  ),
  delegations: z
    .strictObject({
      keys,
      roles: z.array(
        z.strictObject({
          ...role,
          name: z.string(),
          terminating: z.boolean(),
          paths: z.array(z.string()),
        }),
      ),
    })
    .optional(),
});
export type TargetsForm = z.output<typeof TargetsForm>;
