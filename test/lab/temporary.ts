import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Whatever ends: a test context (`t`), or the hooks of a suite (`{ after }`). */
export interface Ending {
  after(cleanup: () => Promise<void> | void): void;
}

const left = new Set<string>();
process.once('exit', () => {
  for (const path of left) rmSync(path, { recursive: true, force: true });
});

/** A fresh directory (0700), removed with everything in it when the test ends, or at the latest with the process. */
export async function temporaryDirectory(test: Ending, label = 'test'): Promise<string> {
  const { path, remove } = await makeTemporaryDirectory(label);
  test.after(remove);
  return path;
}

/**
 * As {@link temporaryDirectory}, removed by its maker. Where something still writes, what is left goes with the process:
 * a hook that fails keeps the test from running the next ones, among them the one that ends the writer.
 */
export async function makeTemporaryDirectory(
  label: string,
): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), `pilotage-${label}-`));
  left.add(path);
  return {
    path,
    remove: async () => {
      const removed = rm(path, { recursive: true, force: true, maxRetries: 5 });
      await removed.then(
        () => left.delete(path),
        () => undefined,
      );
    },
  };
}
