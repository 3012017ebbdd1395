// The search of the site opened as files: browsers start no worker from one, so a hidden frame does its work.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(script) {
      super();
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inner = this.frame.contentWindow;
      inner.document.open();
      inner.document.write("<!doctype html><body></body>");
      inner.document.close();
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const part = inner.document.createElement("script");
      part.src = script; // the only one with a source: by it the search finds its folder
      inner.document.body.append(part);
    }
    hand(data) {
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }
    postMessage(data) {
      this.ready ? this.hand(data) : this.waiting.push(data);
    }
    terminate() {
      this.frame.remove();
    }
  };
}
