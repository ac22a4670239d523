import { join } from 'node:path';
import { PilotageError } from '../../../lib/errors.ts';
import { readTextBounded } from '../../../lib/files.ts';
import * as z from 'zod';
import { autopilotError } from '../../errors.ts';
import { claimFile } from './sandbox.ts';

/** Content of `<spool>/<batch>/batch.json`: written once, for ever; the engine's whole memory of a submission. */
const BatchMarker = z.object({
  verdict: z.enum(['submitted', 'refused']),
  submissionIds: z.array(z.string().max(64)).max(1000),
  bootId: z.string().max(64),
});
export type BatchMarker = z.output<typeof BatchMarker>;

const markerPath = (spool: string, batchId: string): string => join(spool, batchId, 'batch.json');

/** @returns false when the batch already has its marker. */
export const claimBatch = (spool: string, batchId: string, marker: BatchMarker): Promise<boolean> =>
  claimFile(markerPath(spool, batchId), JSON.stringify(marker));

/** Null when the batch was neither submitted nor refused. @throws E_ENGINE_FAILED for a marker that cannot be read. */
export async function readBatch(spool: string, batchId: string): Promise<BatchMarker | null> {
  const path = markerPath(spool, batchId);
  try {
    return BatchMarker.parse(JSON.parse(await readTextBounded(path)));
  } catch (error) {
    if (error instanceof PilotageError && error.code === 'E_FILE_MISSING') return null;
    throw autopilotError({
      code: 'E_ENGINE_FAILED',
      message: 'The record of a batch cannot be read.',
      where: path,
      fix: 'Restore the file; until then nothing more is submitted here.',
      cause: error,
    });
  }
}
