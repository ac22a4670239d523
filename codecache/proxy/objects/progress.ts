/** Wakes whoever waits for the next change of something. */
export class Progress {
  #next = Promise.withResolvers<void>();

  /** Resolves at the next {@link wake}. */
  get next(): Promise<void> {
    return this.#next.promise;
  }

  wake(): void {
    const { resolve } = this.#next;
    this.#next = Promise.withResolvers<void>();
    resolve();
  }
}
