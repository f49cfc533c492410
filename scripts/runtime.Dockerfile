# The images of runner and server. `scripts/images runtime` puts together `root/` and `folders/`, which is all
# that is in them.

# The runner needs the Docker socket, which belongs to root on most hosts; `--user` makes it somebody else.
FROM scratch AS runner
COPY root/ folders/ /
WORKDIR /data
VOLUME /data
EXPOSE 8686
ENTRYPOINT ["/legwork", "runner", "start"]

FROM scratch AS server
COPY root/ /
COPY --chown=65532:65532 folders/ /
WORKDIR /data
VOLUME /data
EXPOSE 5516
USER 65532:65532
ENTRYPOINT ["/legwork", "server", "start"]
