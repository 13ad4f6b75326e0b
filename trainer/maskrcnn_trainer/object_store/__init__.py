"""Reading and writing of objects in S3, Cloud Storage, and Azure Blob Storage, by a helper process of each store."""
