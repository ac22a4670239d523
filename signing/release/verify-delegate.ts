import type { Metadata, Root, Snapshot, Targets, Timestamp } from '@tufjs/models';
import { signingError } from '../errors.ts';

export type AnyMetadata = Metadata<Root> | Metadata<Timestamp> | Metadata<Snapshot> | Metadata<Targets>;

/**
 * Checks that enough of a role's keys, as its delegator lists them, signed its metadata (TUF 1.0.31 section 5).
 *
 * @param refusal what the error says: the message is followed by which signatures are missing.
 * @throws E_TUF_SIGNATURE.
 */
export function verifyDelegate(
  delegator: Metadata<Root> | Metadata<Targets>,
  role: string,
  metadata: AnyMetadata,
  refusal: { message: string; where: string; rule: string; fix: string },
): void {
  try {
    delegator.verifyDelegate(role, metadata);
  } catch (error) {
    throw signingError({
      ...refusal,
      code: 'E_TUF_SIGNATURE',
      message: `${refusal.message}: ${(error as Error).message}.`,
      cause: error,
    });
  }
}
