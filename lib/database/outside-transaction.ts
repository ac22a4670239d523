import { AsyncLocalStorage } from 'node:async_hooks';
import type { KyselyPlugin } from 'kysely';

/**
 * Finds the mistake of using the pool's handle inside a transaction: on SQLite that statement would wait for its own
 * transaction for ever, elsewhere it would not be part of it.
 */
export function outsideTransaction(): {
  plugin: KyselyPlugin;
  refuseInside(): void;
  runInside<T>(work: () => Promise<T>): Promise<T>;
} {
  const context = new AsyncLocalStorage<{ open: boolean }>();
  const refuseInside = () => {
    if (context.getStore()?.open) {
      throw new Error('a statement inside database.transaction() must use the trx it was given');
    }
  };
  return {
    refuseInside,
    plugin: {
      transformQuery: ({ node }) => {
        refuseInside();
        return node;
      },
      transformResult: async ({ result }) => result,
    },
    runInside: async work => {
      const state = { open: true };
      try {
        return await context.run(state, work);
      } finally {
        state.open = false;
      }
    },
  };
}
